// Breakwater on Azure: one resource group with everything in it. `azd up` deploys it.
targetScope = 'subscription'

@description('Name of the environment; part of every resource name.')
@minLength(1)
@maxLength(24)
param environmentName string

@description('Region of every resource; it must offer Flex Consumption.')
@minLength(1)
param location string

@description('Object id of the operator, who may send test events and use the CLI. Empty for no operator.')
param operatorPrincipalId string = ''

@description('Principal type of the operator; a group is not accepted, because Redis supports none.')
@allowed([
  'User'
  'ServicePrincipal'
])
param operatorPrincipalType string = 'User'

@description('Address to which Azure Monitor sends alerts about openings, poison events and lag. Empty: no alert is sent.')
param alertEmail string = ''

@description('Address to which the workflow sends requests for approval. Empty: no mail service.')
param approvalEmail string = ''

@description('The event handler as module:attribute; its module is deployed with the app.')
param eventHandler string = 'processing.handlers.ledger:LedgerHandler'

@description('Pipelines of the app, each an object: name (1 to 20 lower-case letters and digits), and optionally hub, consumerGroup, partitions, handler, and settings with the plain names. Empty: one pipeline, without a name.')
@maxLength(20)
param pipelines array = []

@description('Event Hubs throughput units; each unit has 1,000 events/s or 1 MB/s in, and twice as much out.')
@minValue(1)
@maxValue(40)
param throughputUnits int = 2

@description('Greatest number of throughput units for auto-inflate; 0 turns auto-inflate off.')
@minValue(0)
@maxValue(40)
param maximumThroughputUnits int = 8

@description('Partitions of a hub, and so the greatest number of instances that work at the same time. Cannot be changed later.')
@minValue(1)
@maxValue(32)
param partitions int = 8

@description('Hours that the hub keeps events; processing must not stop for longer.')
@minValue(24)
@maxValue(168)
param retentionHours int = 168

@description('Memory of one function instance in MB; 2048 has one core, 4096 has two cores.')
@allowed([
  512
  2048
  4096
])
param instanceMemoryMB int = 2048

@description('Greatest number of function instances; more instances than partitions have no work.')
@minValue(1)
@maxValue(1000)
param maximumInstances int = 40

@description('Number of always-ready instances of each function that processes events; 0 for none.')
@minValue(0)
@maxValue(20)
param alwaysReadyInstances int = 1

@description('SKU of Azure Managed Redis; its name ends in the memory size.')
@allowed([
  'Balanced_B0'
  'Balanced_B1'
  'Balanced_B3'
  'Balanced_B5'
  'Balanced_B10'
  'Balanced_B20'
  'Balanced_B50'
])
param redisSku string = 'Balanced_B0'

@description('Use two Redis nodes instead of one.')
param redisHighAvailability bool = true

@description('Retention of logs in days.')
@minValue(30)
@maxValue(730)
param logRetentionDays int = 30

@description('Limit of the lag alert: seconds from the arrival of an event in the hub to the end of its processing.')
@minValue(1)
@maxValue(86400)
param lagAlertSeconds int = 300

@description('Make data services reachable only through private endpoints in a separate network.')
param privateNetwork bool = false

@description('Deploy the operator console on Container Apps.')
param deployConsole bool = true

@description('Deploy the workflow that stops the app and requests approvals through the console. Not deployed without the console.')
param deployWorkflow bool = true

@description('Greatest number of console instances.')
@minValue(1)
@maxValue(10)
param consoleMaximumReplicas int = 2

@description('Image of the console; azd sets this parameter after building the image.')
param consoleImage string = ''

@description('Whether the console exists and keeps its image; azd sets this parameter before each deployment.')
param consoleExists bool = false

@description('Token of the console, for the workflow and for the login of operators. Without a default, because a new token would sign out all operators.')
@secure()
@minLength(16)
param consoleToken string

var tags = {
  'azd-env-name': environmentName
  application: 'breakwater'
}

resource group 'Microsoft.Resources/resourceGroups@2024-11-01' = {
  name: 'rg-${environmentName}'
  location: location
  tags: tags
}

module resources 'resources.bicep' = {
  scope: group
  params: {
    environmentName: environmentName
    location: location
    tags: tags
    operatorPrincipalId: operatorPrincipalId
    operatorPrincipalType: operatorPrincipalType
    alertEmail: alertEmail
    approvalEmail: approvalEmail
    eventHandler: eventHandler
    pipelines: pipelines
    throughputUnits: throughputUnits
    maximumThroughputUnits: maximumThroughputUnits
    partitions: partitions
    retentionHours: retentionHours
    instanceMemoryMB: instanceMemoryMB
    maximumInstances: maximumInstances
    alwaysReadyInstances: alwaysReadyInstances
    redisSku: redisSku
    redisHighAvailability: redisHighAvailability
    logRetentionDays: logRetentionDays
    lagAlertSeconds: lagAlertSeconds
    privateNetwork: privateNetwork
    deployConsole: deployConsole
    deployWorkflow: deployWorkflow
    consoleMaximumReplicas: consoleMaximumReplicas
    consoleImage: consoleImage
    consoleExists: consoleExists
    consoleToken: consoleToken
  }
}

// Addresses for `azd env get-values` and the load test; no secrets.
output AZURE_LOCATION string = location
output AZURE_RESOURCE_GROUP string = group.name
output AZURE_CONTAINER_REGISTRY_ENDPOINT string = resources.outputs.registryEndpoint
output BREAKWATER_FUNCTION_APP_ID string = resources.outputs.functionAppId
output BREAKWATER_EVENT_HUB_NAMESPACE string = resources.outputs.eventHubNamespace
output BREAKWATER_EVENT_HUB string = resources.outputs.eventHub
output BREAKWATER_CONSUMER_GROUP string = resources.outputs.consumerGroup
output BREAKWATER_HOST_STORAGE_BLOB_URI string = resources.outputs.hostStorageBlobUri
output BREAKWATER_HOST_STORAGE_QUEUE_URI string = resources.outputs.hostStorageQueueUri
output BREAKWATER_STORAGE_BLOB_URI string = resources.outputs.storageBlobUri
output BREAKWATER_STORAGE_QUEUE_URI string = resources.outputs.storageQueueUri
output BREAKWATER_PIPELINE_SETTINGS object = resources.outputs.pipelineSettings
output BREAKWATER_POISON_QUEUE string = resources.outputs.poisonQueue
output BREAKWATER_REDIS_URL string = resources.outputs.redisUrl
output BREAKWATER_TOPIC_ENDPOINT string = resources.outputs.topicEndpoint
output BREAKWATER_CONSOLE_URL string = resources.outputs.consoleUrl
