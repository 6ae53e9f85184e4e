// A storage account without shared keys. The deployment has two: the host's, with checkpoints, leases and the
// deployed package, and the app's, with poison events, claim checks, marks and dead letters.

param name string

@description('Containers of the account; the container of a poison queue has its claim checks.')
param containers array

param poisonQueues array

@description('Keep deleted blobs and containers for a week. Never for the host: its leases change many times a minute.')
param softDelete bool

param location string
param tags object
param privateNetwork bool
param workspaceId string

var retention = softDelete ? {
  enabled: true
  days: 7
} : {
  enabled: false
}

resource account 'Microsoft.Storage/storageAccounts@2025-06-01' = {
  // checkov:skip=CKV_AZURE_35:Deny with privateNetwork; otherwise only Entra tokens are taken, no keys and nothing anonymous
  // checkov:skip=CKV_AZURE_206:Zone redundant: replication to another region is asynchronous, and checkpoints must not go back
  name: name
  location: location
  tags: tags
  kind: 'StorageV2'
  sku: {
    // A zone outage loses no checkpoint and no poison event.
    name: 'Standard_ZRS'
  }
  properties: {
    accessTier: 'Hot'
    allowSharedKeyAccess: false
    defaultToOAuthAuthentication: true
    allowBlobPublicAccess: false
    allowCrossTenantReplication: false
    minimumTlsVersion: 'TLS1_2'
    supportsHttpsTrafficOnly: true
    publicNetworkAccess: privateNetwork ? 'Disabled' : 'Enabled'
    networkAcls: {
      // Event Grid is a trusted service, so it can write dead letters into a private network.
      bypass: 'AzureServices'
      defaultAction: privateNetwork ? 'Deny' : 'Allow'
    }
  }
}

resource blobs 'Microsoft.Storage/storageAccounts/blobServices@2025-06-01' = {
  parent: account
  name: 'default'
  // Written also where it is off, because an earlier deployment may have turned it on.
  properties: {
    isVersioningEnabled: false
    deleteRetentionPolicy: retention
    containerDeleteRetentionPolicy: retention
  }
}

resource blobContainers 'Microsoft.Storage/storageAccounts/blobServices/containers@2025-06-01' = [for container in containers: {
  parent: blobs
  name: container
  properties: {
    publicAccess: 'None'
  }
}]

resource queues 'Microsoft.Storage/storageAccounts/queueServices@2025-06-01' = {
  parent: account
  name: 'default'
}

resource poisonMessages 'Microsoft.Storage/storageAccounts/queueServices/queues@2025-06-01' = [for queue in poisonQueues: {
  parent: queues
  name: queue
}]

resource blobDiagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'to-workspace'
  scope: blobs
  properties: {
    workspaceId: workspaceId
    logs: [
      {
        category: 'StorageDelete'
        enabled: true
      }
    ]
    metrics: [
      {
        category: 'Transaction'
        enabled: true
      }
    ]
  }
}

// Logs of the removal of messages. Each look at a full queue is about a thousand reads and writes, so those are
// not logged.
resource queueDiagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'to-workspace'
  scope: queues
  properties: {
    workspaceId: workspaceId
    logs: [
      {
        category: 'StorageDelete'
        enabled: true
      }
    ]
    metrics: [
      {
        category: 'Transaction'
        enabled: true
      }
    ]
  }
}

output blobUri string = account.properties.primaryEndpoints.blob
output queueUri string = account.properties.primaryEndpoints.queue
