// The modules of the deployment, with their identities, addresses and rights.

param environmentName string
param location string
param tags object
param operatorPrincipalId string
param operatorPrincipalType string
param alertEmail string
param approvalEmail string
param eventHandler string
param throughputUnits int
param maximumThroughputUnits int
param partitions int
param retentionHours int
param instanceMemoryMB int
param maximumInstances int
param alwaysReadyInstances int
param redisSku string
param redisHighAvailability bool
param logRetentionDays int
param lagAlertSeconds int
param privateNetwork bool
param deployConsole bool
param consoleMaximumReplicas int
param consoleImage string

@secure()
param consoleToken string

// Thirteen characters that are unique to this subscription, environment and region.
var token = uniqueString(subscription().id, resourceGroup().id, environmentName, location)
// Names of azd environments may have capitals, dots and underscores, which some services do not allow.
var suffix = '${toLower(replace(replace(environmentName, '_', '-'), '.', '-'))}-${token}'

var sendMail = deployConsole && !empty(approvalEmail)

module monitoring 'modules/monitoring.bicep' = {
  params: {
    suffix: suffix
    location: location
    tags: tags
    retentionDays: logRetentionDays
  }
}

module identities 'modules/identities.bicep' = {
  params: {
    suffix: suffix
    location: location
    tags: tags
    deployConsole: deployConsole
  }
}

module network 'modules/network.bicep' = if (privateNetwork) {
  params: {
    suffix: suffix
    location: location
    tags: tags
    workspaceId: monitoring.outputs.workspaceId
  }
}

module storage 'modules/storage.bicep' = {
  params: {
    name: 'st${token}'
    location: location
    tags: tags
    privateNetwork: privateNetwork
    workspaceId: monitoring.outputs.workspaceId
  }
}

module eventHubs 'modules/event-hubs.bicep' = {
  params: {
    name: 'evhns-${suffix}'
    location: location
    tags: tags
    throughputUnits: throughputUnits
    maximumThroughputUnits: maximumThroughputUnits
    partitions: partitions
    retentionHours: retentionHours
    privateNetwork: privateNetwork
    workspaceId: monitoring.outputs.workspaceId
  }
}

module redis 'modules/redis.bicep' = {
  params: {
    name: 'amr-${suffix}'
    location: location
    tags: tags
    sku: redisSku
    highAvailability: redisHighAvailability
    privateNetwork: privateNetwork
    workspaceId: monitoring.outputs.workspaceId
  }
}

module redisAccess 'modules/redis-access.bicep' = {
  params: {
    redisName: redis.outputs.name
    functionPrincipalId: identities.outputs.functionPrincipalId
    consolePrincipalId: identities.outputs.consolePrincipalId
    operatorPrincipalId: operatorPrincipalId
  }
}

module topic 'modules/topic.bicep' = {
  params: {
    name: 'evgt-${suffix}'
    location: location
    tags: tags
    privateNetwork: privateNetwork
    workspaceId: monitoring.outputs.workspaceId
  }
}

module endpoints 'modules/private-endpoints.bicep' = if (privateNetwork) {
  params: {
    suffix: suffix
    location: location
    tags: tags
    networkId: privateNetwork ? network!.outputs.networkId : ''
    subnetId: privateNetwork ? network!.outputs.endpointSubnetId : ''
    storageId: storage.outputs.id
    eventHubsId: eventHubs.outputs.namespaceId
    redisId: redis.outputs.id
    topicId: topic.outputs.id
  }
}

module functionAccess 'modules/function-access.bicep' = {
  params: {
    principalId: identities.outputs.functionPrincipalId
    storageName: storage.outputs.name
    poisonQueue: storage.outputs.poisonQueue
    namespaceName: eventHubs.outputs.namespaceName
    hubName: eventHubs.outputs.hubName
    topicName: topic.outputs.name
    insightsName: monitoring.outputs.insightsName
  }
}

module functionApp 'modules/function-app.bicep' = {
  params: {
    suffix: suffix
    location: location
    tags: tags
    identityId: identities.outputs.functionIdentityId
    identityClientId: identities.outputs.functionClientId
    storageBlobUri: storage.outputs.blobUri
    storageQueueUri: storage.outputs.queueUri
    packageContainer: storage.outputs.packageContainer
    poisonQueue: storage.outputs.poisonQueue
    eventHubNamespace: eventHubs.outputs.hostName
    eventHub: eventHubs.outputs.hubName
    consumerGroup: eventHubs.outputs.consumerGroup
    redisUrl: redis.outputs.url
    topicEndpoint: topic.outputs.endpoint
    eventHandler: eventHandler
    insightsConnectionString: monitoring.outputs.insightsConnectionString
    workspaceId: monitoring.outputs.workspaceId
    instanceMemoryMB: instanceMemoryMB
    maximumInstances: maximumInstances
    alwaysReadyInstances: alwaysReadyInstances
    subnetId: privateNetwork ? network!.outputs.functionSubnetId : ''
  }
  // The host needs these rights at its start, to read its package and its leases.
  dependsOn: [
    functionAccess
    redisAccess
  ]
}

module consoleEnvironment 'modules/console-environment.bicep' = if (deployConsole) {
  params: {
    suffix: suffix
    location: location
    tags: tags
    workspaceName: monitoring.outputs.workspaceName
    subnetId: privateNetwork ? network!.outputs.consoleSubnetId : ''
  }
}

module consoleAccess 'modules/console-access.bicep' = if (deployConsole) {
  params: {
    principalId: identities.outputs.consolePrincipalId
    storageName: storage.outputs.name
    poisonQueue: storage.outputs.poisonQueue
    namespaceName: eventHubs.outputs.namespaceName
    hubName: eventHubs.outputs.hubName
    topicName: topic.outputs.name
    registryName: deployConsole ? consoleEnvironment!.outputs.registryName : ''
  }
}

module console 'modules/console.bicep' = if (deployConsole) {
  params: {
    location: location
    tags: tags
    environmentId: deployConsole ? consoleEnvironment!.outputs.environmentId : ''
    url: deployConsole ? consoleEnvironment!.outputs.consoleUrl : ''
    registryEndpoint: deployConsole ? consoleEnvironment!.outputs.registryEndpoint : ''
    image: consoleImage
    token: consoleToken
    maximumReplicas: consoleMaximumReplicas
    identityId: identities.outputs.consoleIdentityId
    identityClientId: identities.outputs.consoleClientId
    storageBlobUri: storage.outputs.blobUri
    storageQueueUri: storage.outputs.queueUri
    poisonQueue: storage.outputs.poisonQueue
    eventHubNamespace: eventHubs.outputs.hostName
    eventHub: eventHubs.outputs.hubName
    consumerGroup: eventHubs.outputs.consumerGroup
    consoleConsumerGroup: eventHubs.outputs.consoleConsumerGroup
    redisUrl: redis.outputs.url
    topicEndpoint: topic.outputs.endpoint
    eventHandler: eventHandler
  }
  dependsOn: [
    consoleAccess
    redisAccess
  ]
}

module mail 'modules/mail.bicep' = if (sendMail) {
  params: {
    suffix: suffix
    tags: tags
  }
}

// The workflow requests approvals through the console, so it is deployed only with the console.
module workflow 'modules/workflow.bicep' = if (deployConsole) {
  params: {
    suffix: suffix
    location: location
    tags: tags
    functionAppName: functionApp.outputs.name
    consoleUrl: deployConsole ? consoleEnvironment!.outputs.consoleUrl : ''
    consoleToken: consoleToken
    mailServiceName: sendMail ? mail!.outputs.name : ''
    mailEndpoint: sendMail ? mail!.outputs.endpoint : ''
    mailFrom: sendMail ? mail!.outputs.sender : ''
    mailTo: approvalEmail
    workspaceId: monitoring.outputs.workspaceId
  }
}

module topicSubscription 'modules/topic-subscription.bicep' = if (deployConsole) {
  params: {
    name: 'circuit-opened'
    topicName: topic.outputs.name
    topicPrincipalId: topic.outputs.principalId
    workflowName: deployConsole ? workflow!.outputs.name : ''
    storageName: storage.outputs.name
    deadLetterContainer: storage.outputs.deadLetterContainer
  }
}

module operatorAccess 'modules/operator-access.bicep' = if (!empty(operatorPrincipalId)) {
  params: {
    principalId: operatorPrincipalId
    principalType: operatorPrincipalType
    storageName: storage.outputs.name
    namespaceName: eventHubs.outputs.namespaceName
    hubName: eventHubs.outputs.hubName
    topicName: topic.outputs.name
  }
}

module alerts 'modules/alerts.bicep' = {
  params: {
    suffix: suffix
    location: location
    tags: tags
    email: alertEmail
    workspaceId: monitoring.outputs.workspaceId
    topicId: topic.outputs.id
    eventHubsId: eventHubs.outputs.namespaceId
    redisId: redis.outputs.id
    workflowId: deployConsole ? workflow!.outputs.id : ''
    deployWorkflow: deployConsole
    sendMail: sendMail
    consoleUrl: deployConsole ? consoleEnvironment!.outputs.consoleUrl : ''
    lagSeconds: lagAlertSeconds
  }
}

output registryEndpoint string = deployConsole ? consoleEnvironment!.outputs.registryEndpoint : ''
output functionAppId string = functionApp.outputs.id
output eventHubNamespace string = eventHubs.outputs.hostName
output eventHub string = eventHubs.outputs.hubName
output consumerGroup string = eventHubs.outputs.consumerGroup
output storageBlobUri string = storage.outputs.blobUri
output storageQueueUri string = storage.outputs.queueUri
output poisonQueue string = storage.outputs.poisonQueue
output redisUrl string = redis.outputs.url
output topicEndpoint string = topic.outputs.endpoint
output consoleUrl string = deployConsole ? consoleEnvironment!.outputs.consoleUrl : ''
