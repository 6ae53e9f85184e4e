// The rights of the operator for the command lines and the load test.

param principalId string
param principalType string
param storageName string
param appStorageName string
param namespaceName string
param hubNames array
param topicName string

var blobDataContributor = 'ba92f5b4-2d11-453d-a403-e96b0029c9fe'
var queueDataContributor = '974c5e8b-45b9-4653-ba55-5f855dd0fb88'
var eventHubsDataSender = '2b629674-e913-4c01-ae53-ef4638d8f975'
var eventHubsDataReceiver = 'a638d3c7-ab3a-418d-83e6-5f17a39d4fde'
var eventGridDataSender = 'd5a91429-5739-47e2-a06b-3470a27159e7'

resource account 'Microsoft.Storage/storageAccounts@2025-06-01' existing = {
  name: storageName
}

resource appAccount 'Microsoft.Storage/storageAccounts@2025-06-01' existing = {
  name: appStorageName
}

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

// `processing rewind` writes checkpoints, whose container the host creates at run time.
resource blobAccess 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(account.id, principalId, blobDataContributor)
  scope: account
  properties: {
    principalId: principalId
    principalType: principalType
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', blobDataContributor)
  }
}

// `processing poison` and `processing redrive` also read and remove the poison messages that an app of one
// account left in the host's account.
resource queueAccess 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(account.id, principalId, queueDataContributor)
  scope: account
  properties: {
    principalId: principalId
    principalType: principalType
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', queueDataContributor)
  }
}

// `processing redrive` deletes claim checks, and `processing parked drop-mark` deletes a mark, which are blobs.
resource appBlobAccess 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(appAccount.id, principalId, blobDataContributor)
  scope: appAccount
  properties: {
    principalId: principalId
    principalType: principalType
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', blobDataContributor)
  }
}

// `processing poison` and `processing redrive` read and remove poison messages.
resource appQueueAccess 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(appAccount.id, principalId, queueDataContributor)
  scope: appAccount
  properties: {
    principalId: principalId
    principalType: principalType
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', queueDataContributor)
  }
}

// The load test sends events.
resource sendAccess 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for (_, index) in hubNames: {
  name: guid(hub[index].id, principalId, eventHubsDataSender)
  scope: hub[index]
  properties: {
    principalId: principalId
    principalType: principalType
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', eventHubsDataSender)
  }
}]

// `processing rewind` reads the first and last sequence numbers of partitions.
resource readAccess 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for (_, index) in hubNames: {
  name: guid(hub[index].id, principalId, eventHubsDataReceiver)
  scope: hub[index]
  properties: {
    principalId: principalId
    principalType: principalType
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', eventHubsDataReceiver)
  }
}]

// `breaker approve` and `breaker close` publish alerts.
resource topicAccess 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(topic.id, principalId, eventGridDataSender)
  scope: topic
  properties: {
    principalId: principalId
    principalType: principalType
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', eventGridDataSender)
  }
}
