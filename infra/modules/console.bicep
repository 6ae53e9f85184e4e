// The operator console, for the workflow and operators' browsers; the only entry from outside.

param name string
param location string
param tags object
param environmentId string
param url string
param registryEndpoint string

@description('Empty until azd has pushed the first image.')
param image string

@secure()
param token string

param maximumReplicas int
param identityId string
param identityClientId string
param storageBlobUri string
param storageQueueUri string
param appStorageBlobUri string
param appStorageQueueUri string
param poisonQueue string
param eventHubNamespace string
param eventHub string
param consumerGroup string
param consoleConsumerGroup string
param pipelineSettings object
param redisUrl string
param parkingReplicas int
param topicEndpoint string
param eventHandler string
param functionAppUrl string
param deployWorkflow bool

var placeholder = 'mcr.microsoft.com/azuredocs/containerapps-helloworld:latest'
var deployed = !empty(image) && image != placeholder

// The settings of the app, because the console uses the same rules for the circuit and redrives, and
// the settings of the console.
var values = union(loadJsonContent('../settings.json'), loadJsonContent('../console-settings.json'), pipelineSettings, {
  AZURE_CLIENT_ID: identityClientId
  AzureWebJobsStorage__blobServiceUri: storageBlobUri
  AzureWebJobsStorage__queueServiceUri: storageQueueUri
  AzureWebJobsStorage__clientId: identityClientId
  BreakwaterStorage__blobServiceUri: appStorageBlobUri
  BreakwaterStorage__queueServiceUri: appStorageQueueUri
  BreakwaterStorage__clientId: identityClientId
  EventHubConnection__fullyQualifiedNamespace: eventHubNamespace
  EVENT_HUB_NAME: eventHub
  EVENT_HUB_CONSUMER_GROUP: consumerGroup
  REDIS_URL: redisUrl
  PROCESSING_PARKING_REPLICAS: string(parkingReplicas)
  BREAKER_REDIS_AUTH: 'entra'
  BREAKER_REDIS_CLIENT_ID: identityClientId
  EVENT_GRID_TOPIC_ENDPOINT: topicEndpoint
  POISON_QUEUE: poisonQueue
  EVENT_HANDLER: eventHandler
  CONSOLE_CONSUMER_GROUP: consoleConsumerGroup
  // The console shows whether the function app runs, stops it and starts it.
  FUNCTION_APP_URL: functionAppUrl
  BREAKER_CONSOLE_URL: url
  CONSOLE_ORIGINS: url
  // Callbacks go only to Logic Apps of this region.
  CONSOLE_CALLBACK_HOSTS: '*.${location}.logic.azure.com'
}, deployWorkflow ? {} : {
  // No workflow registers, so the console must not publish openings again.
  CONSOLE_REPEAT_SECONDS: '0'
})

var plainVariables = [for item in items(values): {
  name: item.key
  value: item.value
}]

resource console 'Microsoft.App/containerApps@2025-01-01' = {
  name: name
  location: location
  tags: union(tags, { 'azd-service-name': 'console' })
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${identityId}': {}
    }
  }
  properties: {
    environmentId: environmentId
    workloadProfileName: 'Consumption'
    configuration: {
      activeRevisionsMode: 'Single'
      ingress: {
        external: true
        targetPort: 7090
        transport: 'auto'
        allowInsecure: false
      }
      registries: [
        {
          server: registryEndpoint
          identity: identityId
        }
      ]
      secrets: [
        {
          name: 'console-token'
          value: token
        }
      ]
    }
    template: {
      containers: [
        {
          name: 'console'
          image: deployed ? image : placeholder
          resources: {
            cpu: json('0.5')
            memory: '1Gi'
          }
          env: concat(plainVariables, [
            {
              name: 'CONSOLE_TOKEN'
              secretRef: 'console-token'
            }
            {
              // A changed secret restarts no container, but a changed variable does.
              name: 'TOKEN_FINGERPRINT'
              value: uniqueString(token)
            }
          ])
          probes: !deployed ? [] : [
            {
              // Checks the port, because /healthz returns 503 in a Redis outage, which no restart ends.
              type: 'Liveness'
              tcpSocket: {
                port: 7090
              }
              periodSeconds: 30
            }
          ]
        }
      ]
      scale: {
        // At least one instance must run, to deliver alerts while the app is stopped.
        minReplicas: 1
        maxReplicas: maximumReplicas
      }
    }
  }
}
