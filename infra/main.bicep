// Breakwater on Azure: one resource group with everything in it. `azd up` deploys it.
targetScope = 'subscription'

@description('Name of the environment; part of every resource name.')
@minLength(1)
@maxLength(24)
param environmentName string

@description('Region of every resource; it must offer Flex Consumption.')
@minLength(1)
param location string

@description('Object id of whoever operates: may send test events and use the CLI. Empty: nobody.')
param operatorPrincipalId string = ''

@description('What kind of principal the operator is; a group will not do, Redis knows none.')
@allowed([
  'User'
  'ServicePrincipal'
])
param operatorPrincipalType string = 'User'

@description('Who is told by Azure Monitor about openings, poison events and lag. Empty: alerts fire unsent.')
param alertEmail string = ''

@description('Who is mailed by the workflow that an approval waits. Empty: no mail service.')
param approvalEmail string = ''

@description('The handler, module:attribute, as deployed with the app.')
param eventHandler string = 'processing.handlers.ledger:LedgerHandler'

@description('Event Hubs throughput units: 1,000 events/s or 1 MB/s in, twice that out, each.')
@minValue(1)
@maxValue(40)
param throughputUnits int = 2

@description('Inflate by itself up to so many throughput units; 0: never.')
@minValue(0)
@maxValue(40)
param maximumThroughputUnits int = 8

@description('Partitions of the hub: the most instances that can work at the same time. Cannot be changed later.')
@minValue(1)
@maxValue(32)
param partitions int = 8

@description('Hours that the hub keeps events: how long a stop may last.')
@minValue(24)
@maxValue(168)
param retentionHours int = 168

@description('Memory of one function instance, MB; 2048 has one core, 4096 two.')
@allowed([
  512
  2048
  4096
])
param instanceMemoryMB int = 2048

@description('The most function instances; more than partitions find no work.')
@minValue(1)
@maxValue(1000)
param maximumInstances int = 40

@description('Instances of process_events that are kept warm; 0: none.')
@minValue(0)
@maxValue(20)
param alwaysReadyInstances int = 1

@description('Size of Azure Managed Redis; the name ends in its memory class.')
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

@description('Two Redis nodes instead of one.')
param redisHighAvailability bool = true

@description('Days that logs are kept.')
@minValue(30)
@maxValue(730)
param logRetentionDays int = 30

@description('Seconds between an event entering the hub and being finished beyond which the lag alert fires.')
@minValue(1)
@maxValue(86400)
param lagAlertSeconds int = 300

@description('Data services only through private endpoints in a network of their own.')
param privateNetwork bool = false

@description('Run the operator console on Container Apps, and the workflow that asks it for approvals.')
param deployConsole bool = true

@description('The most instances of the console.')
@minValue(1)
@maxValue(10)
param consoleMaximumReplicas int = 2

@description('Image of the console; azd fills it in once it has built one.')
param consoleImage string = ''

@description('What the workflow shows the console, and operators log in with. azd draws it once for each environment.')
@secure()
@minLength(16)
@metadata({
  azd: {
    type: 'generate'
    config: {
      length: 32
      noSpecial: true
    }
  }
})
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
    consoleMaximumReplicas: consoleMaximumReplicas
    consoleImage: consoleImage
    consoleToken: consoleToken
  }
}

// Where everything is; `azd env get-values` shows it, and the load test reads it. No secrets.
output AZURE_LOCATION string = location
output AZURE_RESOURCE_GROUP string = group.name
output AZURE_CONTAINER_REGISTRY_ENDPOINT string = resources.outputs.registryEndpoint
output BREAKWATER_FUNCTION_APP_ID string = resources.outputs.functionAppId
output BREAKWATER_EVENT_HUB_NAMESPACE string = resources.outputs.eventHubNamespace
output BREAKWATER_EVENT_HUB string = resources.outputs.eventHub
output BREAKWATER_CONSUMER_GROUP string = resources.outputs.consumerGroup
output BREAKWATER_STORAGE_BLOB_URI string = resources.outputs.storageBlobUri
output BREAKWATER_STORAGE_QUEUE_URI string = resources.outputs.storageQueueUri
output BREAKWATER_POISON_QUEUE string = resources.outputs.poisonQueue
output BREAKWATER_REDIS_URL string = resources.outputs.redisUrl
output BREAKWATER_TOPIC_ENDPOINT string = resources.outputs.topicEndpoint
output BREAKWATER_CONSOLE_URL string = resources.outputs.consoleUrl
