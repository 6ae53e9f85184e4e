// The app on Flex Consumption, its settings, and the container of its package.

param name string
param suffix string
param location string
param tags object
param identityId string
param identityClientId string
param storageName string
param storageBlobUri string
param storageQueueUri string
param appStorageBlobUri string
param appStorageQueueUri string
param packageContainer string
param poisonQueue string
param eventHubNamespace string
param eventHub string
param consumerGroup string
param pipelineSettings object

@description('Always-ready instances of the functions that process events, one for each pipeline. Each scales by itself.')
param alwaysReady array

param redisUrl string
param parkingReplicas int
param topicEndpoint string
param consoleUrl string
param eventHandler string
param insightsConnectionString string
param workspaceId string
param instanceMemoryMB int
param maximumInstances int
param subnetId string

resource plan 'Microsoft.Web/serverfarms@2025-03-01' = {
  // checkov:skip=CKV_AZURE_225:Flex Consumption does not offer zones in every region, and would bill more instances
  name: 'plan-${suffix}'
  location: location
  tags: tags
  kind: 'functionapp'
  sku: {
    name: 'FC1'
    tier: 'FlexConsumption'
  }
  properties: {
    reserved: true
  }
}

resource app 'Microsoft.Web/sites@2025-03-01' = {
  // checkov:skip=CKV_AZURE_222:The one function that listens, health, takes a function key and holds no secrets
  // checkov:skip=CKV_AZURE_17:No browser or service calls it with a client certificate
  // checkov:skip=CKV_AZURE_212:Flex Consumption scales by itself; alwaysReady is its minimum
  // checkov:skip=CKV_AZURE_213:Flex Consumption has no health check path
  // checkov:skip=CKV_AZURE_78:Flex Consumption has no FTP, and ftpsState is not to be set there
  name: name
  location: location
  // azd finds the app by this tag.
  tags: union(tags, { 'azd-service-name': 'api' })
  kind: 'functionapp,linux'
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${identityId}': {}
    }
  }
  properties: {
    serverFarmId: plan.id
    httpsOnly: true
    clientAffinityEnabled: false
    // Empty without a private network; then the app's outbound addresses are Azure's.
    virtualNetworkSubnetId: empty(subnetId) ? null : subnetId
    functionAppConfig: {
      runtime: {
        name: 'python'
        version: '3.13'
      }
      scaleAndConcurrency: {
        maximumInstanceCount: maximumInstances
        instanceMemoryMB: instanceMemoryMB
        alwaysReady: alwaysReady
      }
      deployment: {
        storage: {
          type: 'blobContainer'
          value: '${storageBlobUri}${packageContainer}'
          authentication: {
            type: 'UserAssignedIdentity'
            userAssignedIdentityResourceId: identityId
          }
        }
      }
    }
    siteConfig: {
      minTlsVersion: '1.2'
      http20Enabled: true
    }
  }
}

// Publishing by user name and password is off; azd and the CLI use Entra tokens.
resource scmCredentials 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2025-03-01' = {
  parent: app
  name: 'scm'
  properties: {
    allow: false
  }
}

resource ftpCredentials 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2025-03-01' = {
  parent: app
  name: 'ftp'
  properties: {
    allow: false
  }
}

// All settings that the code reads are here or in settings.json.
resource settings 'Microsoft.Web/sites/config@2025-03-01' = {
  // checkov:skip=CKV_AZURE_13:This config is the app settings, which have no authentication; health takes a function key
  // checkov:skip=CKV_AZURE_63:This config is the app settings; the diagnostic setting below takes the logs
  // checkov:skip=CKV_AZURE_65:This config is the app settings; errors are logged, not shown
  // checkov:skip=CKV_AZURE_66:This config is the app settings; requests are traced by Application Insights
  // checkov:skip=CKV_AZURE_80:There is no .NET in a Python app
  // checkov:skip=CKV_AZURE_88:The package comes from a blob container; Azure Files would need an account key
  // checkov:skip=CKV_AZURE_222:This config is the app settings
  parent: app
  name: 'appsettings'
  properties: union(loadJsonContent('../settings.json'), pipelineSettings, {
    // With addresses alone, the host may start without its keys (azure-functions-host, issue 11787).
    AzureWebJobsStorage__accountName: storageName
    AzureWebJobsStorage__blobServiceUri: storageBlobUri
    AzureWebJobsStorage__queueServiceUri: storageQueueUri
    AzureWebJobsStorage__credential: 'managedidentity'
    AzureWebJobsStorage__clientId: identityClientId
    // Poison queue, claim checks and marks; the host's account has neither soft delete nor other data.
    BreakwaterStorage__blobServiceUri: appStorageBlobUri
    BreakwaterStorage__queueServiceUri: appStorageQueueUri
    BreakwaterStorage__credential: 'managedidentity'
    BreakwaterStorage__clientId: identityClientId
    EventHubConnection__fullyQualifiedNamespace: eventHubNamespace
    EventHubConnection__credential: 'managedidentity'
    EventHubConnection__clientId: identityClientId
    EVENT_HUB_NAME: eventHub
    EVENT_HUB_CONSUMER_GROUP: consumerGroup
    REDIS_URL: redisUrl
    // With two nodes, the second one confirms each parked and deferred event.
    PROCESSING_PARKING_REPLICAS: string(parkingReplicas)
    BREAKER_REDIS_AUTH: 'entra'
    BREAKER_REDIS_CLIENT_ID: identityClientId
    EVENT_GRID_TOPIC_ENDPOINT: topicEndpoint
    // Alerts link to the console. Empty without a console.
    BREAKER_CONSOLE_URL: consoleUrl
    POISON_QUEUE: poisonQueue
    EVENT_HANDLER: eventHandler
    APPLICATIONINSIGHTS_CONNECTION_STRING: insightsConnectionString
    APPLICATIONINSIGHTS_AUTHENTICATION_STRING: 'ClientId=${identityClientId};Authorization=AAD'
    // The worker exports the app's OpenTelemetry instruments, which the alerts query by name.
    PYTHON_APPLICATIONINSIGHTS_ENABLE_TELEMETRY: 'true'
  })
}

resource diagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'to-workspace'
  scope: app
  properties: {
    workspaceId: workspaceId
    logs: [
      {
        category: 'FunctionAppLogs'
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

output id string = app.id
