// The event hubs, with a separate consumer group for each reader.

param name string

@description('The hubs, each an object with name and partitions.')
param hubs array

@description('The consumer groups as hub/group. The console\'s live tail must not share the group of the app.')
param consumerGroups array

param location string
param tags object
param throughputUnits int
param maximumThroughputUnits int
param retentionHours int
param privateNetwork bool
param workspaceId string

var inflates = maximumThroughputUnits > throughputUnits

resource namespace 'Microsoft.EventHub/namespaces@2024-01-01' = {
  name: name
  location: location
  tags: tags
  sku: {
    // Basic has only one consumer group, and the console needs a second one.
    name: 'Standard'
    tier: 'Standard'
    capacity: throughputUnits
  }
  identity: {
    type: 'SystemAssigned'
  }
  properties: {
    disableLocalAuth: true
    minimumTlsVersion: '1.2'
    isAutoInflateEnabled: inflates
    maximumThroughputUnits: inflates ? maximumThroughputUnits : 0
    publicNetworkAccess: privateNetwork ? 'Disabled' : 'Enabled'
  }
}

resource hub 'Microsoft.EventHub/namespaces/eventhubs@2024-01-01' = [for each in hubs: {
  parent: namespace
  name: each.name
  properties: {
    partitionCount: each.partitions
    retentionDescription: {
      cleanupPolicy: 'Delete'
      retentionTimeInHours: retentionHours
    }
  }
}]

resource group 'Microsoft.EventHub/namespaces/eventhubs/consumergroups@2024-01-01' = [for each in consumerGroups: {
  name: '${name}/${each}'
  properties: {
    userMetadata: endsWith(each, '/console') ? 'the operator console' : 'the function app'
  }
  dependsOn: [
    hub
  ]
}]

resource diagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'to-workspace'
  scope: namespace
  properties: {
    workspaceId: workspaceId
    logs: [
      {
        category: 'OperationalLogs'
        enabled: true
      }
      {
        category: 'AutoScaleLogs'
        enabled: true
      }
    ]
    metrics: [
      {
        category: 'AllMetrics'
        enabled: true
      }
    ]
  }
}

output hostName string = '${namespace.name}.servicebus.windows.net'
