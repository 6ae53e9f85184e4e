// The modules of the deployment, with their identities, addresses and rights.

param environmentName string
param location string
param tags object
param operatorPrincipalId string
param operatorPrincipalType string
param alertEmail string
param approvalEmail string
param eventHandler string
param pipelines array
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
param deployWorkflow bool
param consoleMaximumReplicas int
param consoleImage string
param consoleExists bool

@secure()
param consoleToken string

// Thirteen characters that are unique to this subscription, environment and region.
var token = uniqueString(subscription().id, resourceGroup().id, environmentName, location)
// Names of azd environments may have capitals, dots and underscores, which some services do not allow.
var suffix = '${toLower(replace(replace(environmentName, '_', '-'), '.', '-'))}-${token}'

// A preview of the deployment shows a resource only if its name is known before the deployment starts, so
// names are computed here and are no outputs of modules.
var names = {
  workspace: 'log-${suffix}'
  insights: 'appi-${suffix}'
  storage: 'st${token}'
  appStorage: 'stapp${token}'
  packageContainer: 'app-package'
  poisonQueue: 'poison'
  deadLetterContainer: 'event-grid-dead-letters'
  eventHubs: 'evhns-${suffix}'
  hub: 'events'
  consumerGroup: 'app'
  consoleConsumerGroup: 'console'
  redis: 'amr-${suffix}'
  topic: 'evgt-${suffix}'
  functionApp: 'func-${suffix}'
  registry: 'cr${uniqueString(resourceGroup().id, suffix)}'
  console: 'console'
  workflow: 'logic-${suffix}'
  mail: 'acs-${suffix}'
}
var ids = {
  storage: resourceId('Microsoft.Storage/storageAccounts', names.storage)
  appStorage: resourceId('Microsoft.Storage/storageAccounts', names.appStorage)
  eventHubs: resourceId('Microsoft.EventHub/namespaces', names.eventHubs)
  redis: resourceId('Microsoft.Cache/redisEnterprise', names.redis)
  topic: resourceId('Microsoft.EventGrid/topics', names.topic)
  functionApp: resourceId('Microsoft.Web/sites', names.functionApp)
  workflow: resourceId('Microsoft.Logic/workflows', names.workflow)
}
// checkov does not parse lambdas, and so not this file, which creates no resource; the modules have none.
// What the app reads: an entry for each pipeline, or the one hub of an app without pipelines. The pipeline
// `default` has the hub and the queue of that app, and so its data.
var sources = empty(pipelines) ? [
  {
    name: ''
    hub: names.hub
    consumerGroup: names.consumerGroup
    partitions: partitions
    queue: names.poisonQueue
    handler: eventHandler
    settings: {}
  }
] : map(pipelines, each => {
  name: each.name
  hub: each.?hub ?? each.?settings.?EVENT_HUB_NAME ?? (each.name == 'default' ? names.hub : each.name)
  consumerGroup: each.?consumerGroup ?? each.?settings.?EVENT_HUB_CONSUMER_GROUP ?? names.consumerGroup
  partitions: each.?partitions ?? partitions
  queue: each.?settings.?POISON_QUEUE ?? (each.name == 'default' ? names.poisonQueue : '${names.poisonQueue}-${each.name}')
  handler: each.?handler ?? each.?settings.?EVENT_HANDLER ?? eventHandler
  settings: each.?settings ?? {}
})
// Several pipelines may read one hub, each with a consumer group of its own. The first one decides on the
// number of partitions.
var hubNames = union(map(sources, each => each.hub), [])
var hubs = map(hubNames, hub => {
  name: hub
  partitions: filter(sources, each => each.hub == hub)[0].partitions
})
var consumerGroups = union(
  map(sources, each => '${each.hub}/${each.consumerGroup}'),
  map(sources, each => '${each.hub}/${names.consoleConsumerGroup}')
)
var poisonQueues = union(map(sources, each => each.queue), [])
// The app settings of the pipelines, with their full names.
var ownSettings = flatten(map(sources, each => map(items(union(each.settings, {
  EVENT_HUB_NAME: each.hub
  EVENT_HUB_CONSUMER_GROUP: each.consumerGroup
  EVENT_HANDLER: each.handler
  POISON_QUEUE: each.queue
})), setting => {
  name: 'PIPELINE_${toUpper(each.name)}_${setting.key}'
  value: string(setting.value)
})))
var pipelineSettings = empty(pipelines) ? {} : union({
  PIPELINES: join(map(sources, each => each.name), ',')
}, toObject(ownSettings, each => each.name, each => each.value))

// The address in Azure Resource Manager at which the workflow and the console stop and start the app.
var functionAppUrl = '${environment().resourceManager}${substring(ids.functionApp, 1)}'

// The workflow requests approvals through the console, so it is deployed only with the console.
var withWorkflow = deployConsole && deployWorkflow
var sendMail = withWorkflow && !empty(approvalEmail)

module monitoring 'modules/monitoring.bicep' = {
  params: {
    workspaceName: names.workspace
    insightsName: names.insights
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

// The name is the Event Hubs extension's; the host creates the container if it is missing.
var checkpointContainer = 'azure-webjobs-eventhub'

// The host's account: checkpoints, leases and the package. Its poison queue and container are those of an app
// of one account, and are empty in a new deployment.
module storage 'modules/storage.bicep' = {
  params: {
    name: names.storage
    containers: concat([
      names.packageContainer
    ], poisonQueues, [
      checkpointContainer
    ])
    poisonQueues: poisonQueues
    softDelete: false
    location: location
    tags: tags
    privateNetwork: privateNetwork
    workspaceId: monitoring.outputs.workspaceId
  }
}

// The app's account: poison queue, claim checks, marks, and the dead letters of Event Grid.
module appStorage 'modules/storage.bicep' = {
  params: {
    name: names.appStorage
    containers: concat(poisonQueues, [
      names.deadLetterContainer
    ])
    poisonQueues: poisonQueues
    softDelete: true
    location: location
    tags: tags
    privateNetwork: privateNetwork
    workspaceId: monitoring.outputs.workspaceId
  }
}

module eventHubs 'modules/event-hubs.bicep' = {
  params: {
    name: names.eventHubs
    hubs: hubs
    consumerGroups: consumerGroups
    location: location
    tags: tags
    throughputUnits: throughputUnits
    maximumThroughputUnits: maximumThroughputUnits
    retentionHours: retentionHours
    privateNetwork: privateNetwork
    workspaceId: monitoring.outputs.workspaceId
  }
}

module redis 'modules/redis.bicep' = {
  params: {
    name: names.redis
    location: location
    tags: tags
    sku: redisSku
    highAvailability: redisHighAvailability
    privateNetwork: privateNetwork
    workspaceId: monitoring.outputs.workspaceId
  }
}

// The rights to use Redis are deployed one after the other, because the database refuses concurrent changes.
module functionRedisAccess 'modules/redis-access.bicep' = {
  params: {
    redisName: names.redis
    principalId: identities.outputs.functionPrincipalId
  }
  dependsOn: [
    redis
  ]
}

module consoleRedisAccess 'modules/redis-access.bicep' = if (deployConsole) {
  params: {
    redisName: names.redis
    principalId: identities.outputs.consolePrincipalId
  }
  dependsOn: [
    functionRedisAccess
  ]
}

module operatorRedisAccess 'modules/redis-access.bicep' = if (!empty(operatorPrincipalId)) {
  params: {
    redisName: names.redis
    principalId: operatorPrincipalId
  }
  dependsOn: [
    functionRedisAccess
    consoleRedisAccess
  ]
}

module topic 'modules/topic.bicep' = {
  params: {
    name: names.topic
    location: location
    tags: tags
    privateNetwork: privateNetwork
    workspaceId: monitoring.outputs.workspaceId
  }
}

module deadLetterAccess 'modules/dead-letter-access.bicep' = if (withWorkflow) {
  params: {
    principalId: topic.outputs.principalId
    storageName: names.appStorage
    container: names.deadLetterContainer
  }
  dependsOn: [
    appStorage
  ]
}

module endpoints 'modules/private-endpoints.bicep' = if (privateNetwork) {
  params: {
    suffix: suffix
    location: location
    tags: tags
    networkId: privateNetwork ? network!.outputs.networkId : ''
    subnetId: privateNetwork ? network!.outputs.endpointSubnetId : ''
    storageId: ids.storage
    appStorageId: ids.appStorage
    eventHubsId: ids.eventHubs
    redisId: ids.redis
    topicId: ids.topic
  }
  dependsOn: [
    storage
    appStorage
    eventHubs
    redis
    topic
  ]
}

module functionAccess 'modules/function-access.bicep' = {
  params: {
    principalId: identities.outputs.functionPrincipalId
    storageName: names.storage
    appStorageName: names.appStorage
    poisonQueues: poisonQueues
    namespaceName: names.eventHubs
    hubNames: hubNames
    topicName: names.topic
    insightsName: names.insights
  }
  dependsOn: [
    monitoring
    storage
    appStorage
    eventHubs
    topic
  ]
}

module functionApp 'modules/function-app.bicep' = {
  params: {
    name: names.functionApp
    suffix: suffix
    location: location
    tags: tags
    identityId: identities.outputs.functionIdentityId
    identityClientId: identities.outputs.functionClientId
    storageName: names.storage
    storageBlobUri: storage.outputs.blobUri
    storageQueueUri: storage.outputs.queueUri
    appStorageBlobUri: appStorage.outputs.blobUri
    appStorageQueueUri: appStorage.outputs.queueUri
    packageContainer: names.packageContainer
    poisonQueue: sources[0].queue
    eventHubNamespace: eventHubs.outputs.hostName
    eventHub: sources[0].hub
    consumerGroup: sources[0].consumerGroup
    pipelineSettings: pipelineSettings
    redisUrl: redis.outputs.url
    parkingReplicas: redisHighAvailability ? 1 : 0
    topicEndpoint: topic.outputs.endpoint
    consoleUrl: deployConsole ? consoleEnvironment!.outputs.consoleUrl : ''
    eventHandler: eventHandler
    insightsConnectionString: monitoring.outputs.insightsConnectionString
    workspaceId: monitoring.outputs.workspaceId
    instanceMemoryMB: instanceMemoryMB
    maximumInstances: maximumInstances
    alwaysReady: alwaysReadyInstances == 0 ? [] : map(sources, each => {
      name: empty(each.name) ? 'function:process_events' : 'function:process_events_${each.name}'
      instanceCount: alwaysReadyInstances
    })
    subnetId: privateNetwork ? network!.outputs.functionSubnetId : ''
  }
  // The host needs these rights at its start, to read its package and its leases.
  dependsOn: [
    functionAccess
    functionRedisAccess
  ]
}

module consoleEnvironment 'modules/console-environment.bicep' = if (deployConsole) {
  params: {
    suffix: suffix
    location: location
    tags: tags
    registryName: names.registry
    workspaceId: monitoring.outputs.workspaceId
    consoleName: names.console
    subnetId: privateNetwork ? network!.outputs.consoleSubnetId : ''
  }
}

module consoleAccess 'modules/console-access.bicep' = if (deployConsole) {
  params: {
    principalId: identities.outputs.consolePrincipalId
    storageName: names.storage
    appStorageName: names.appStorage
    poisonQueues: poisonQueues
    checkpointContainer: checkpointContainer
    namespaceName: names.eventHubs
    hubNames: hubNames
    topicName: names.topic
    registryName: names.registry
  }
  dependsOn: [
    storage
    appStorage
    eventHubs
    topic
    consoleEnvironment
  ]
}

module consoleNow 'modules/console-image.bicep' = if (deployConsole) {
  params: {
    name: names.console
    exists: consoleExists
  }
}

module console 'modules/console.bicep' = if (deployConsole) {
  params: {
    name: names.console
    location: location
    tags: tags
    environmentId: deployConsole ? consoleEnvironment!.outputs.environmentId : ''
    url: deployConsole ? consoleEnvironment!.outputs.consoleUrl : ''
    registryEndpoint: deployConsole ? consoleEnvironment!.outputs.registryEndpoint : ''
    image: deployConsole && consoleExists ? consoleNow!.outputs.image : consoleImage
    token: consoleToken
    maximumReplicas: consoleMaximumReplicas
    identityId: identities.outputs.consoleIdentityId
    identityClientId: identities.outputs.consoleClientId
    storageBlobUri: storage.outputs.blobUri
    storageQueueUri: storage.outputs.queueUri
    appStorageBlobUri: appStorage.outputs.blobUri
    appStorageQueueUri: appStorage.outputs.queueUri
    poisonQueue: sources[0].queue
    eventHubNamespace: eventHubs.outputs.hostName
    eventHub: sources[0].hub
    consumerGroup: sources[0].consumerGroup
    consoleConsumerGroup: names.consoleConsumerGroup
    pipelineSettings: pipelineSettings
    redisUrl: redis.outputs.url
    parkingReplicas: redisHighAvailability ? 1 : 0
    topicEndpoint: topic.outputs.endpoint
    eventHandler: eventHandler
    functionAppUrl: functionAppUrl
    deployWorkflow: withWorkflow
  }
  dependsOn: [
    consoleAccess
    consoleRedisAccess
  ]
}

module operateRole 'modules/operate-role.bicep' = if (deployConsole) {
  params: {
    suffix: suffix
  }
}

module consoleOperateAccess 'modules/operate-access.bicep' = if (deployConsole) {
  params: {
    principalId: identities.outputs.consolePrincipalId
    roleId: deployConsole ? operateRole!.outputs.id : ''
    functionAppName: names.functionApp
  }
  dependsOn: [
    functionApp
  ]
}

module mail 'modules/mail.bicep' = if (sendMail) {
  params: {
    name: names.mail
    suffix: suffix
    tags: tags
  }
}

module workflow 'modules/workflow.bicep' = if (withWorkflow) {
  params: {
    name: names.workflow
    location: location
    tags: tags
    functionAppUrl: functionAppUrl
    consoleUrl: withWorkflow ? consoleEnvironment!.outputs.consoleUrl : ''
    consoleToken: consoleToken
    mailEndpoint: sendMail ? mail!.outputs.endpoint : ''
    mailFrom: sendMail ? mail!.outputs.sender : ''
    mailTo: approvalEmail
    workspaceId: monitoring.outputs.workspaceId
  }
}

module workflowOperateAccess 'modules/operate-access.bicep' = if (withWorkflow) {
  params: {
    principalId: withWorkflow ? workflow!.outputs.principalId : ''
    roleId: withWorkflow ? operateRole!.outputs.id : ''
    functionAppName: names.functionApp
  }
  dependsOn: [
    functionApp
  ]
}

module workflowMailAccess 'modules/mail-access.bicep' = if (sendMail) {
  params: {
    principalId: sendMail ? workflow!.outputs.principalId : ''
    roleId: sendMail ? mail!.outputs.roleId : ''
    mailServiceName: names.mail
  }
}

// The last step of the chain: no opening starts the workflow before the workflow may stop the app.
module topicSubscription 'modules/topic-subscription.bicep' = if (withWorkflow) {
  params: {
    name: 'circuit-opened'
    topicName: names.topic
    workflowName: names.workflow
    storageName: names.appStorage
    deadLetterContainer: names.deadLetterContainer
  }
  dependsOn: [
    deadLetterAccess
    workflowOperateAccess
  ]
}

module operatorAccess 'modules/operator-access.bicep' = if (!empty(operatorPrincipalId)) {
  params: {
    principalId: operatorPrincipalId
    principalType: operatorPrincipalType
    storageName: names.storage
    appStorageName: names.appStorage
    namespaceName: names.eventHubs
    hubNames: hubNames
    topicName: names.topic
  }
  dependsOn: [
    storage
    appStorage
    eventHubs
    topic
  ]
}

module alerts 'modules/alerts.bicep' = {
  params: {
    suffix: suffix
    location: location
    tags: tags
    email: alertEmail
    workspaceId: monitoring.outputs.workspaceId
    topicId: ids.topic
    eventHubsId: ids.eventHubs
    redisId: ids.redis
    workflowId: ids.workflow
    deployWorkflow: withWorkflow
    sendMail: sendMail
    consoleUrl: deployConsole ? consoleEnvironment!.outputs.consoleUrl : ''
    lagSeconds: lagAlertSeconds
    byPipeline: !empty(pipelines)
  }
  dependsOn: [
    topic
    eventHubs
    redis
    workflow
  ]
}

output registryEndpoint string = deployConsole ? consoleEnvironment!.outputs.registryEndpoint : ''
output functionAppId string = functionApp.outputs.id
output eventHubNamespace string = eventHubs.outputs.hostName
output eventHub string = sources[0].hub
output consumerGroup string = sources[0].consumerGroup
output pipelineSettings object = pipelineSettings
output hostStorageBlobUri string = storage.outputs.blobUri
output hostStorageQueueUri string = storage.outputs.queueUri
output storageBlobUri string = appStorage.outputs.blobUri
output storageQueueUri string = appStorage.outputs.queueUri
output poisonQueue string = sources[0].queue
output redisUrl string = redis.outputs.url
output topicEndpoint string = topic.outputs.endpoint
output consoleUrl string = deployConsole ? consoleEnvironment!.outputs.consoleUrl : ''
