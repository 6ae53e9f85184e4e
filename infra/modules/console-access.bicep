// The rights of the operator console and their reasons.

param principalId string
param storageName string
param appStorageName string
param poisonQueues array
param checkpointContainer string
param namespaceName string
param hubNames array
param topicName string
param registryName string

var blobDataReader = '2a2b9908-6ea1-4ae2-8e65-a410df84e7d1'
var blobDataContributor = 'ba92f5b4-2d11-453d-a403-e96b0029c9fe'
var queueDataContributor = '974c5e8b-45b9-4653-ba55-5f855dd0fb88'
var eventHubsDataReceiver = 'a638d3c7-ab3a-418d-83e6-5f17a39d4fde'
var eventGridDataSender = 'd5a91429-5739-47e2-a06b-3470a27159e7'
var acrPull = '7f951dda-4ed3-4680-a7ca-43fe172d538d'

resource account 'Microsoft.Storage/storageAccounts@2025-06-01' existing = {
  name: storageName
}

resource hostBlobs 'Microsoft.Storage/storageAccounts/blobServices@2025-06-01' existing = {
  parent: account
  name: 'default'
}

resource earlierContainer 'Microsoft.Storage/storageAccounts/blobServices/containers@2025-06-01' existing = [for queueName in poisonQueues: {
  parent: hostBlobs
  name: queueName
}]

resource checkpoints 'Microsoft.Storage/storageAccounts/blobServices/containers@2025-06-01' existing = {
  parent: hostBlobs
  name: checkpointContainer
}

resource hostQueues 'Microsoft.Storage/storageAccounts/queueServices@2025-06-01' existing = {
  parent: account
  name: 'default'
}

resource earlierQueue 'Microsoft.Storage/storageAccounts/queueServices/queues@2025-06-01' existing = [for queueName in poisonQueues: {
  parent: hostQueues
  name: queueName
}]

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

resource registry 'Microsoft.ContainerRegistry/registries@2025-04-01' existing = {
  name: registryName
}

// The console shows partition ownership and checkpoints, which the host stores in blobs.
resource blobAccess 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(account.id, principalId, blobDataReader)
  scope: account
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', blobDataReader)
  }
}

// The console's rewind moves checkpoints. It may write their container only: the account also has the package.
resource checkpointAccess 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(checkpoints.id, principalId, blobDataContributor)
  scope: checkpoints
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', blobDataContributor)
  }
}

// The console removes poison messages from the queue, to redrive or discard the events.
resource poisonAccess 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for (_, index) in poisonQueues: {
  name: guid(queue[index].id, principalId, queueDataContributor)
  scope: queue[index]
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', queueDataContributor)
  }
}]

// The console deletes the claim checks of large poison messages, which are blobs.
resource claimCheckAccess 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for (_, index) in poisonQueues: {
  name: guid(poisonContainer[index].id, principalId, blobDataContributor)
  scope: poisonContainer[index]
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', blobDataContributor)
  }
}]

// An app of one account left poison messages in the host's account; the console removes them there, too.
resource earlierPoisonAccess 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for (_, index) in poisonQueues: {
  name: guid(earlierQueue[index].id, principalId, queueDataContributor)
  scope: earlierQueue[index]
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', queueDataContributor)
  }
}]

// The console deletes the claim checks and marks of that app, which are blobs.
resource earlierClaimCheckAccess 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for (_, index) in poisonQueues: {
  name: guid(earlierContainer[index].id, principalId, blobDataContributor)
  scope: earlierContainer[index]
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', blobDataContributor)
  }
}]

// The console's live tail reads events.
resource hubAccess 'Microsoft.Authorization/roleAssignments@2022-04-01' = [for (_, index) in hubNames: {
  name: guid(hub[index].id, principalId, eventHubsDataReceiver)
  scope: hub[index]
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', eventHubsDataReceiver)
  }
}]

// The console publishes alerts that a stopped app has left in the outbox.
resource topicAccess 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(topic.id, principalId, eventGridDataSender)
  scope: topic
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', eventGridDataSender)
  }
}

// The console's image is pulled from the registry.
resource registryAccess 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(registry.id, principalId, acrPull)
  scope: registry
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', acrPull)
  }
}
