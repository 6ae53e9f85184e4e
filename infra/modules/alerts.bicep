// The alerts of Azure Monitor. docs/operations.md describes the response to each alert.

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

// Metrics of the Azure services, so these alerts also fire while the app is stopped.
var metricAlerts = union([
  {
    name: 'circuit-opened'
    description: deployWorkflow ? 'A circuit opened. Processing holds until an operator approves.' : 'A circuit changed its state.'
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
    description: 'Event Grid could not deliver an alert to the workflow. The app may still run.'
    severity: 1
    resourceId: topicId
    namespace: 'Microsoft.EventGrid/topics'
    metric: 'DeadLetteredCount'
    dimensions: []
  }
  {
    name: 'alert-publish-failed'
    description: 'Event Grid refuses alerts that the app publishes.'
    severity: 2
    resourceId: topicId
    namespace: 'Microsoft.EventGrid/topics'
    metric: 'PublishFailCount'
    dimensions: []
  }
  {
    name: 'hub-throttled'
    description: 'The event hub throttles requests. Add throughput units.'
    severity: 2
    resourceId: eventHubsId
    namespace: 'Microsoft.EventHub/namespaces'
    metric: 'ThrottledRequests'
    dimensions: []
  }
], deployWorkflow ? [
  {
    name: 'workflow-failed'
    description: 'A workflow run failed. The app may be stopped without a pending approval.'
    severity: 1
    resourceId: workflowId
    namespace: 'Microsoft.Logic/workflows'
    metric: 'RunsFailed'
    dimensions: []
  }
] : [])

// OpenTelemetry instruments of the app, by name, and a metric of the hub. Only histograms have a Max;
// a gauge's value is in Sum. The hub's alert also fires while the app is stopped.
var queryAlerts = [
  {
    name: 'alert-undelivered'
    description: 'A circuit alert is undelivered in the outbox for more than a minute.'
    severity: 1
    query: 'AppMetrics | where Name == "breaker.alert.age" and Sum > 60'
  }
  {
    name: 'poison-arrived'
    description: 'Events were moved to the poison queue. An operator must redrive or discard them.'
    severity: 3
    query: 'AppMetrics | where Name == "processing.events" and Properties.outcome == "poisoned" and Sum > 0'
  }
  {
    name: 'lag-growing'
    description: 'The time from the arrival of an event in the hub to the end of its processing exceeds the limit.'
    severity: 2
    query: 'AppMetrics | where Name == "processing.lag" and Max > ${lagSeconds}'
  }
  {
    name: 'redis-degraded'
    description: 'Redis does not answer. Instances hold, then decide alone.'
    severity: 2
    query: 'AppMetrics | where Name == "breaker.store.degraded" and Sum > 0'
  }
  {
    name: 'hub-unread'
    description: 'Events arrive in the hub and are not read. The app is stopped, holds, or cannot start.'
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
    // Longer than the evaluation interval, because records arrive minutes after their time.
    windowSize: 'PT15M'
    autoMitigate: true
    // The table does not exist before the app has sent its first metric.
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
