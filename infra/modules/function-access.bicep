// The rights of the function app and their reasons; none has the resource group as its scope.

param principalId string
param storageName string
param appStorageName string
param poisonQueues array
param namespaceName string
param hubNames array
param topicName string
param insightsName string

var blobDataOwner = 'b7e6dc6d-f1e8-4753-8033-0f276bb0955b'
var blobDataContributor = 'ba92f5b4-2d11-453d-a403-e96b0029c9fe'
var tableDataContributor = '0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3'
var queueMessageSender = 'c6a89b2d-59bc-44d0-9896-0f6e12d7b80a'
var eventHubsDataReceiver = 'a638d3c7-ab3a-418d-83e6-5f17a39d4fde'
var eventGridDataSender = 'd5a91429-5739-47e2-a06b-3470a27159e7'
var monitoringMetricsPublisher = '3913510d-42f4-4e42-8a64-420c390055eb'

resource account 'Microsoft.Storage/storageAccounts@2025-06-01' existing = {
  name: storageName
}

resource appAccount 'Microsoft.Storage/storageAccounts@2025-06-01' existing = {
  name: appStorageName
}

resource blobs 'Microsoft.Storage/storageAccounts/blobServices@2025-06-01' existing = {
  parent: appAccount
  name: 'default'
}

resource poisonContainer 'Microsoft.Storage/storageAccounts/blobServices/containers@2025-06-01' existing = [for queueName in poisonQueues: {
  parent: blobs
  name: queueName
}]

resource queues 'Microsoft.Storage/storageAccounts/queueServices@2025-06-01' existing = {
  parent: appAccount
  name: 'default'
}

resource queue 'Microsoft.Storage/storageAccounts/queueServices/queues@2025-06-01' existing = [for queueName in poisonQueues: {
  parent: queues
  name: queueName
}]

resource namespace 'Microsoft.EventHub/namespaces@2024-01-01' existing = {
  name: namespaceName
}

resource hub 'Microsoft.EventHub/namespaces/eventhubs@2024-01-01' existing = [for hubName in hubNames: {
  parent: namespace
  name: hubName
}]

resource topic 'Microsoft.EventGrid/topics@2025-02-15' existing = {
  name: topicName
}

resource insights 'Microsoft.Insights/components@2020-02-02' existing = {
  name: insightsName
}

// The host creates its containers for leases, checkpoints and keys at run time, so the scope is the
// account. Acquiring blob leases needs Owner. The host also reads the deployed package with this role,
// and the app the claim checks and marks that an app of one account left here.
resource blobAccess 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(account.id, principalId, blobDataOwner)
  scope: account
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', blobDataOwner)
  }
}

// The host keeps its diagnostic events in a table, which it creates at run time.
resource tableAccess 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(account.id, principalId, tableDataContributor)
  scope: account
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', tableDataContributor)
  }
}

// The app writes, reads and deletes claim checks and marks, which are blobs.
resource claimCheckAccess 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for (_, index) in poisonQueues: {
  name: guid(poisonContainer[index].id, principalId, blobDataContributor)
  scope: poisonContainer[index]
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', blobDataContributor)
  }
}]

// The app adds poison events to the queue; only operators remove them.
resource poisonAccess 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for (_, index) in poisonQueues: {
  name: guid(queue[index].id, principalId, queueMessageSender)
  scope: queue[index]
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', queueMessageSender)
  }
}]

// The app reads events. The scope is the hub, because lag is a property of the hub, not of a consumer group.
resource hubAccess 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for (_, index) in hubNames: {
  name: guid(hub[index].id, principalId, eventHubsDataReceiver)
  scope: hub[index]
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', eventHubsDataReceiver)
  }
}]

// The app publishes alerts.
resource topicAccess 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(topic.id, principalId, eventGridDataSender)
  scope: topic
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', eventGridDataSender)
  }
}

// The app sends telemetry; Application Insights accepts telemetry only from known identities.
resource telemetryAccess 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(insights.id, principalId, monitoringMetricsPublisher)
  scope: insights
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', monitoringMetricsPublisher)
  }
}
