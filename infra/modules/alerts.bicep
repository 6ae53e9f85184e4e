// The alerts of Azure Monitor. docs/operations.md describes the response to each alert.

param suffix string
param location string
param tags object
param email string
param workspaceId string
param topicId string
param eventHubsId string
param redisId string
param workflowId string
param deployWorkflow bool
param sendMail bool
param consoleUrl string
param lagSeconds int

@description('Send an alert of its own for each pipeline, or for each circuit.')
param byPipeline bool

// Metrics of the Azure services, so these alerts also fire while the app is stopped. Each alert has its
// whole condition as literals, because scripts/check_infra/alarms.py reads the conditions for tests.
var metricAlerts = union([
  {
    name: 'alert-publish-failed'
    description: 'Event Grid refuses alerts that the app publishes.'
    severity: 2
    resourceId: topicId
    namespace: 'Microsoft.EventGrid/topics'
    metric: 'PublishFailCount'
    operator: 'GreaterThan'
    threshold: 0
    window: 'PT5M'
    frequency: 'PT1M'
    aggregation: 'Total'
    autoMitigate: true
  }
  {
    name: 'hub-throttled'
    description: 'The event hub throttles requests. Add throughput units.'
    severity: 2
    resourceId: eventHubsId
    namespace: 'Microsoft.EventHub/namespaces'
    metric: 'ThrottledRequests'
    operator: 'GreaterThan'
    threshold: 0
    window: 'PT5M'
    frequency: 'PT1M'
    aggregation: 'Total'
    autoMitigate: true
  }
  {
    name: 'redis-memory-high'
    description: 'Redis is more than 75 percent full. A full Redis refuses all writes, and processing holds.'
    severity: 1
    resourceId: redisId
    namespace: 'Microsoft.Cache/redisEnterprise'
    metric: 'usedmemorypercentage'
    operator: 'GreaterThan'
    threshold: 75
    // Azure Managed Redis publishes the metric every five minutes.
    window: 'PT15M'
    frequency: 'PT5M'
    aggregation: 'Maximum'
    autoMitigate: true
  }
], deployWorkflow ? [
  {
    name: 'circuit-opened'
    description: 'A circuit opened. The circuit of the app, or of a pipeline, holds all its processing until an operator decides. The circuit of a dependency holds the events that need the dependency.'
    severity: 1
    resourceId: topicId
    namespace: 'Microsoft.EventGrid/topics'
    // Counts openings only, because the topic's one subscription takes no other event.
    metric: 'MatchedEventCount'
    operator: 'GreaterThan'
    threshold: 0
    window: 'PT5M'
    frequency: 'PT1M'
    aggregation: 'Total'
    // A stateful alert would send no mail about a second opening within minutes of the first.
    autoMitigate: false
  }
  {
    name: 'alert-delivery-failing'
    description: 'Event Grid failed to deliver an opening to the workflow, and tries again for an hour.'
    severity: 2
    resourceId: topicId
    namespace: 'Microsoft.EventGrid/topics'
    metric: 'DeliveryAttemptFailCount'
    operator: 'GreaterThan'
    threshold: 0
    window: 'PT5M'
    frequency: 'PT1M'
    aggregation: 'Total'
    autoMitigate: true
  }
  {
    name: 'alert-dead-lettered'
    description: 'Event Grid could not deliver an opening to the workflow within an hour. The app may still run.'
    severity: 1
    resourceId: topicId
    namespace: 'Microsoft.EventGrid/topics'
    metric: 'DeadLetteredCount'
    operator: 'GreaterThan'
    threshold: 0
    window: 'PT5M'
    frequency: 'PT1M'
    aggregation: 'Total'
    autoMitigate: true
  }
  {
    name: 'alert-dropped'
    description: 'Event Grid dropped an opening, which is not among the dead letters either. The app may still run.'
    severity: 1
    resourceId: topicId
    namespace: 'Microsoft.EventGrid/topics'
    metric: 'DroppedEventCount'
    operator: 'GreaterThan'
    threshold: 0
    window: 'PT5M'
    frequency: 'PT1M'
    aggregation: 'Total'
    autoMitigate: true
  }
  {
    name: 'workflow-failed'
    description: 'A workflow run failed. Nobody is asked about the circuit any more, and the app may be stopped.'
    severity: 1
    resourceId: workflowId
    namespace: 'Microsoft.Logic/workflows'
    metric: 'RunsFailed'
    operator: 'GreaterThan'
    threshold: 0
    window: 'PT5M'
    frequency: 'PT1M'
    aggregation: 'Total'
    autoMitigate: true
  }
  {
    name: 'workflow-steps-failing'
    description: 'Steps of the workflow fail repeatedly. The workflow cannot stop the app, request approval, or start the app.'
    severity: 1
    resourceId: workflowId
    namespace: 'Microsoft.Logic/workflows'
    metric: 'ActionsFailed'
    operator: 'GreaterThan'
    threshold: 2
    // A step that waits for an answer fails three times in half an hour.
    window: 'PT30M'
    frequency: 'PT5M'
    aggregation: 'Total'
    autoMitigate: true
  }
] : [
  {
    name: 'circuit-opened'
    description: 'A circuit changed its state.'
    severity: 1
    resourceId: topicId
    namespace: 'Microsoft.EventGrid/topics'
    metric: 'PublishSuccessCount'
    operator: 'GreaterThan'
    threshold: 0
    window: 'PT5M'
    frequency: 'PT1M'
    aggregation: 'Total'
    autoMitigate: false
  }
])

// The table does not exist before the app has sent its first metric, and Azure switches an alert off whose
// query fails for a week. The union with an empty row keeps each query valid; the row has each column that
// a query of the table uses.
var appMetrics = 'union isfuzzy=true (print Name = "", Sum = real(null), Max = real(null), Properties = dynamic(null)), AppMetrics'

// OpenTelemetry instruments of the app, by name, and a metric of the hub. Only histograms have a Max;
// a gauge's value is in Sum. The hub's alert also fires while the app is stopped. The columns of the
// workflow's records exist from the first record on, hence column_ifexists.
var queryAlerts = union([
  {
    name: 'alert-undelivered'
    description: 'A circuit alert is undelivered in the outbox for more than a minute.'
    severity: 1
    query: '${appMetrics} | where Name == "breaker.alert.age" and Sum > 60'
    by: 'circuit'
  }
  {
    name: 'poison-arrived'
    description: 'Events were moved to the poison queue. An operator must redrive or discard them.'
    severity: 3
    query: '${appMetrics} | where Name == "processing.events" and Properties.outcome == "poisoned" and Sum > 0'
    by: 'pipeline'
  }
  {
    name: 'lag-growing'
    description: 'The time from the arrival of an event in the hub to the end of its processing exceeds the limit.'
    severity: 2
    query: '${appMetrics} | where Name == "processing.lag" and Max > ${lagSeconds}'
    by: 'pipeline'
  }
  {
    name: 'redis-degraded'
    description: 'Redis does not answer. Instances hold, then decide alone.'
    severity: 2
    query: '${appMetrics} | where Name == "breaker.store.degraded" and Sum > 0'
  }
  {
    name: 'partition-stalled'
    description: 'The first unfinished event of a partition, or a deferred key, does not continue. Health and the console name the event, the reason and the response.'
    severity: 1
    query: '${appMetrics} | where Name == "processing.oldest_unfinished_seconds" and Properties.state == "stalled" and Sum > 0'
    by: 'pipeline'
  }
  {
    // The counter has the gaps that a batch has met; the gauge has those of a partition without new
    // events, for as long as no batch comes.
    name: 'events-expired'
    description: 'The hub removed events before they were handled. They are lost. Health and the console name the partition and the events.'
    severity: 1
    query: '${appMetrics} | where (Name == "processing.events_expired" or Name == "processing.events_expired_pending") and Sum > 0'
    by: 'pipeline'
  }
  {
    name: 'replays-stopped'
    description: 'The timer function replay_deferred has not run for a minute although deferred keys wait.'
    severity: 2
    query: '${appMetrics} | where Name == "processing.replays_stopped" and Sum > 0'
    by: 'pipeline'
  }
  {
    name: 'hub-unread'
    description: 'Events arrive in the hub and are not read. The app is stopped, holds, or cannot start.'
    severity: 2
    query: 'AzureMetrics | where ResourceProvider == "MICROSOFT.EVENTHUB" | summarize Came = sumif(Total, MetricName =~ "IncomingMessages" and TimeGenerated < ago(5m)), Went = sumif(Total, MetricName =~ "OutgoingMessages") | where Came > 0 and Went == 0'
  }
], deployWorkflow ? [
  {
    // The last attempt of each run counts, because the workflow tries again after a failure.
    name: 'stop-failed'
    description: 'The workflow could not stop the app. The app still runs, and its instances hold.'
    severity: 2
    query: 'AzureDiagnostics | where Category == "WorkflowRuntime" and OperationName endswith "workflowActionCompleted" and column_ifexists("resource_actionName_s", "") == "Stop_the_app" | extend Run = column_ifexists("resource_runId_s", ""), Status = column_ifexists("status_s", "") | summarize arg_max(TimeGenerated, Status) by Run | where Status in ("Failed", "TimedOut")'
  }
] : [], sendMail ? [
  {
    name: 'mail-failed'
    description: 'The workflow could not send the mail with the request for approval. The console shows the request.'
    severity: 2
    query: 'AzureDiagnostics | where Category == "WorkflowRuntime" and OperationName endswith "workflowActionCompleted" and column_ifexists("resource_actionName_s", "") == "Mail_the_operator" and column_ifexists("status_s", "") in ("Failed", "TimedOut")'
  }
] : [])

resource actionGroup 'Microsoft.Insights/actionGroups@2023-01-01' = {
  name: 'ag-${suffix}'
  location: 'global'
  tags: tags
  properties: {
    groupShortName: 'breakwater'
    enabled: true
    emailReceivers: empty(email) ? [] : [
      {
        name: 'operator'
        emailAddress: email
        useCommonAlertSchema: true
      }
    ]
  }
}

resource metricRules 'Microsoft.Insights/metricAlerts@2018-03-01' = [for alert in metricAlerts: {
  name: 'alert-${alert.name}-${suffix}'
  location: 'global'
  tags: tags
  properties: {
    description: empty(consoleUrl) ? alert.description : '${alert.description} Console: ${consoleUrl}'
    severity: alert.severity
    enabled: true
    scopes: [
      alert.resourceId
    ]
    evaluationFrequency: alert.frequency
    windowSize: alert.window
    autoMitigate: alert.autoMitigate
    criteria: {
      'odata.type': 'Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria'
      allOf: [
        {
          criterionType: 'StaticThresholdCriterion'
          name: alert.name
          metricNamespace: alert.namespace
          metricName: alert.metric
          operator: alert.operator
          threshold: alert.threshold
          timeAggregation: alert.aggregation
        }
      ]
    }
    actions: [
      {
        actionGroupId: actionGroup.id
      }
    ]
  }
}]

resource queryRules 'Microsoft.Insights/scheduledQueryRules@2023-12-01' = [for alert in queryAlerts: {
  name: 'alert-${alert.name}-${suffix}'
  location: location
  tags: tags
  kind: 'LogAlert'
  properties: {
    displayName: alert.name
    description: empty(consoleUrl) ? alert.description : '${alert.description} Console: ${consoleUrl}'
    severity: alert.severity
    enabled: true
    scopes: [
      workspaceId
    ]
    evaluationFrequency: 'PT5M'
    // Longer than the evaluation interval, because records arrive minutes after their time.
    windowSize: 'PT15M'
    autoMitigate: true
    // The table does not exist before the app has sent its first metric.
    skipQueryValidation: true
    criteria: {
      allOf: [
        union({
          query: '${alert.query}${byPipeline && contains(alert, 'by') ? ' | extend ${alert.by} = tostring(Properties.${alert.by})' : ''}'
          timeAggregation: 'Count'
          operator: 'GreaterThan'
          threshold: 0
          failingPeriods: {
            numberOfEvaluationPeriods: 1
            minFailingPeriodsToAlert: 1
          }
        }, byPipeline && contains(alert, 'by') ? {
          // One alert for each value, so that a second pipeline's alert is not hidden by the first one's.
          dimensions: [
            {
              name: alert.by
              operator: 'Include'
              values: [
                '*'
              ]
            }
          ]
        } : {})
      ]
    }
    actions: {
      actionGroups: [
        actionGroup.id
      ]
    }
  }
}]
