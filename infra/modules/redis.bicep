// The circuit, its window, and the progress of every partition. Entra only: no access keys.

param name string
param location string
param tags object
param sku string
param highAvailability bool
param privateNetwork bool
param workspaceId string

resource redis 'Microsoft.Cache/redisEnterprise@2025-07-01' = {
  name: name
  location: location
  tags: tags
  sku: {
    name: sku
  }
  properties: {
    minimumTlsVersion: '1.2'
    highAvailability: highAvailability ? 'Enabled' : 'Disabled'
    publicNetworkAccess: privateNetwork ? 'Disabled' : 'Enabled'
  }
}

resource database 'Microsoft.Cache/redisEnterprise/databases@2025-07-01' = {
  parent: redis
  name: 'default'
  properties: {
    clientProtocol: 'Encrypted'
    port: 10000
    // One endpoint, so that any client will do; every script keeps to one hash slot.
    clusteringPolicy: 'EnterpriseCluster'
    // Out of memory must be an error: an evicted watermark would be events handled again.
    evictionPolicy: 'NoEviction'
    accessKeysAuthentication: 'Disabled'
  }
}

resource diagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'to-workspace'
  scope: redis
  properties: {
    workspaceId: workspaceId
    metrics: [
      {
        category: 'AllMetrics'
        enabled: true
      }
    ]
  }
}

output id string = redis.id
output name string = redis.name
// Without user and password: those are the identity's.
output url string = 'rediss://${redis.properties.hostName}:${database.properties.port}/0'
