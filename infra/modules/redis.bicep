// Redis, for the circuit and the progress of all partitions. Logins need Entra; access keys are off.

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
    // One endpoint works with any client, and each script uses one hash slot.
    clusteringPolicy: 'EnterpriseCluster'
    // No eviction, because events whose watermark is evicted would be handled again.
    evictionPolicy: 'NoEviction'
    accessKeysAuthentication: 'Disabled'
    // Parked events and approvals exist only here. A loss of both nodes loses at most the last second.
    persistence: {
      aofEnabled: true
      aofFrequency: '1s'
    }
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

// The address has no user and password, because clients log in with their identity.
output url string = 'rediss://${redis.properties.hostName}:${database.properties.port}/0'
