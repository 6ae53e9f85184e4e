// What wakes somebody up. docs/operations.md says what to do about each.

param suffix string
param location string
param tags object
param email string
param workspaceId string
param topicId string
param eventHubsId string
param workflowId string
param deployWorkflow bool
param subscriptionName string
param lagSeconds int

// Counted by the services themselves: they are told even if the app is already stopped.
var metricAlerts = union([
  {
    name: 'circuit-opened'
    description: deployWorkflow ? 'A circuit opened: processing holds, an approval is asked for.' : 'A circuit changed its state.'
    severity: 1
    resourceId: topicId
    namespace: 'Microsoft.EventGrid/topics'
    metric: deployWorkflow ? 'MatchedEventCount' : 'PublishSuccessCount'
    dimensions: deployWorkflow ? [
      {
        name: 'EventSubscriptionName'
        operator: 'Include'
        values: [
          subscriptionName
        ]
      }
    ] : []
  }
  {
    name: 'alert-dead-lettered'
    description: 'Event Grid gave up delivering an alert: the app may not have been stopped.'
    severity: 1
    resourceId: topicId
    namespace: 'Microsoft.EventGrid/topics'
    metric: 'DeadLetteredCount'
    dimensions: []
  }
  {
    name: 'alert-publish-failed'
    description: 'Event Grid refuses the app its alerts.'
    severity: 2
    resourceId: topicId
    namespace: 'Microsoft.EventGrid/topics'
    metric: 'PublishFailCount'
    dimensions: []
  }
  {
    name: 'hub-throttled'
    description: 'The hub refuses work: too few throughput units.'
    severity: 2
    resourceId: eventHubsId
    namespace: 'Microsoft.EventHub/namespaces'
    metric: 'ThrottledRequests'
    dimensions: []
  }
], deployWorkflow ? [
  {
    name: 'workflow-failed'
    description: 'A run of the workflow failed: the app may be left stopped.'
    severity: 1
    resourceId: workflowId
    namespace: 'Microsoft.Logic/workflows'
    metric: 'RunsFailed'
    dimensions: []
  }
] : [])

// Counted by the app: its OpenTelemetry instruments, by name. Only histograms have a Max; a gauge's
// value is in Sum. The last one, of the hub, is told even if no app is there to count.
var queryAlerts = [
  {
    name: 'alert-undelivered'
    description: 'An alert has waited for more than a minute in the outbox.'
    severity: 1
    query: 'AppMetrics | where Name == "breaker.alert.age" and Sum > 60'
  }
  {
    name: 'poison-arrived'
    description: 'Events went to the poison queue; nobody handles them by themselves.'
    severity: 3
    query: 'AppMetrics | where Name == "processing.events" and Properties.outcome == "poisoned" and Sum > 0'
  }
  {
    name: 'lag-growing'
    description: 'Events are finished later than the limit after they entered the hub.'
    severity: 2
    query: 'AppMetrics | where Name == "processing.lag" and Max > ${lagSeconds}'
  }
  {
    name: 'redis-degraded'
    description: 'Instances decide alone: Redis does not answer.'
    severity: 2
    query: 'AppMetrics | where Name == "breaker.store.degraded" and Sum > 0'
  }
  {
    name: 'hub-unread'
    description: 'Events came in and nobody reads them: the app is stopped, holds, or cannot start.'
    severity: 2
    query: 'AzureMetrics | where ResourceProvider == "MICROSOFT.EVENTHUB" | summarize Came = sumif(Total, MetricName =~ "IncomingMessages" and TimeGenerated < ago(5m)), Went = sumif(Total, MetricName =~ "OutgoingMessages") | where Came > 0 and Went == 0'
  }
]

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
    description: alert.description
    severity: alert.severity
    enabled: true
    scopes: [
      alert.resourceId
    ]
    evaluationFrequency: 'PT1M'
    windowSize: 'PT5M'
    autoMitigate: true
    criteria: {
      'odata.type': 'Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria'
      allOf: [
        {
          criterionType: 'StaticThresholdCriterion'
          name: alert.name
          metricNamespace: alert.namespace
          metricName: alert.metric
          dimensions: alert.dimensions
          operator: 'GreaterThan'
          threshold: 0
          timeAggregation: 'Total'
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
    description: alert.description
    severity: alert.severity
    enabled: true
    scopes: [
      workspaceId
    ]
    evaluationFrequency: 'PT5M'
    // Longer than the pause between evaluations: records arrive minutes after their time.
    windowSize: 'PT15M'
    autoMitigate: true
    // The table is there only once the app has sent its first metric.
    skipQueryValidation: true
    criteria: {
      allOf: [
        {
          query: alert.query
          timeAggregation: 'Count'
          operator: 'GreaterThan'
          threshold: 0
          failingPeriods: {
            numberOfEvaluationPeriods: 1
            minFailingPeriodsToAlert: 1
          }
        }
      ]
    }
    actions: {
      actionGroups: [
        actionGroup.id
      ]
    }
  }
}]
