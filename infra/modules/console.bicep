// The operator console. The workflow and operators' browsers reach it; it is the only way in.

param location string
param tags object
param environmentId string
param url string
param registryEndpoint string
param image string

@secure()
param token string

param maximumReplicas int
param identityId string
param identityClientId string
param storageBlobUri string
param storageQueueUri string
param poisonQueue string
param eventHubNamespace string
param eventHub string
param consumerGroup string
param consoleConsumerGroup string
param redisUrl string
param topicEndpoint string
param eventHandler string

// The app's own settings, because the console decides and redrives by the same rules, and its own.
var values = union(loadJsonContent('../settings.json'), loadJsonContent('../console-settings.json'), {
  AZURE_CLIENT_ID: identityClientId
  AzureWebJobsStorage__blobServiceUri: storageBlobUri
  AzureWebJobsStorage__queueServiceUri: storageQueueUri
  AzureWebJobsStorage__clientId: identityClientId
  EventHubConnection__fullyQualifiedNamespace: eventHubNamespace
  EVENT_HUB_NAME: eventHub
  EVENT_HUB_CONSUMER_GROUP: consumerGroup
  REDIS_URL: redisUrl
  BREAKER_REDIS_AUTH: 'entra'
  BREAKER_REDIS_CLIENT_ID: identityClientId
  EVENT_GRID_TOPIC_ENDPOINT: topicEndpoint
  POISON_QUEUE: poisonQueue
  EVENT_HANDLER: eventHandler
  CONSOLE_CONSUMER_GROUP: consoleConsumerGroup
  CONSOLE_ORIGINS: url
  // Only Logic Apps of this region may be called back.
  CONSOLE_CALLBACK_HOSTS: '*.${location}.logic.azure.com'
})

var plainVariables = [for item in items(values): {
  name: item.key
  value: item.value
}]

resource console 'Microsoft.App/containerApps@2025-01-01' = {
  name: 'console'
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
          // Until azd has pushed the first image: a page that says so.
          image: empty(image) ? 'mcr.microsoft.com/azuredocs/containerapps-helloworld:latest' : image
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
              // A changed secret alone restarts nothing: the console would go on with the old one.
              name: 'TOKEN_FINGERPRINT'
              value: uniqueString(token)
            }
          ])
          probes: empty(image) ? [] : [
            {
              // Whether it listens: without Redis /healthz answers 503, and a restart mends nothing.
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
        // One must always be there: it delivers alerts while the app is stopped.
        minReplicas: 1
        maxReplicas: maximumReplicas
      }
    }
  }
}
