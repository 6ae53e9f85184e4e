// Private endpoints of all services that hold data, with their private DNS zones.

param suffix string
param location string
param tags object
param networkId string
param subnetId string
param storageId string
param appStorageId string
param eventHubsId string
param redisId string
param topicId string

var zoneNames = [
  'privatelink.blob.${environment().suffixes.storage}'
  'privatelink.queue.${environment().suffixes.storage}'
  'privatelink.table.${environment().suffixes.storage}'
  'privatelink.servicebus.windows.net'
  'privatelink.redis.azure.net'
  'privatelink.eventgrid.azure.net'
]

var services = [
  {
    name: 'blob'
    resourceId: storageId
    group: 'blob'
    zone: zoneNames[0]
  }
  {
    name: 'queue'
    resourceId: storageId
    group: 'queue'
    zone: zoneNames[1]
  }
  {
    // The host writes its diagnostic events into a table.
    name: 'table'
    resourceId: storageId
    group: 'table'
    zone: zoneNames[2]
  }
  {
    name: 'app-blob'
    resourceId: appStorageId
    group: 'blob'
    zone: zoneNames[0]
  }
  {
    name: 'app-queue'
    resourceId: appStorageId
    group: 'queue'
    zone: zoneNames[1]
  }
  {
    name: 'event-hubs'
    resourceId: eventHubsId
    group: 'namespace'
    zone: zoneNames[3]
  }
  {
    name: 'redis'
    resourceId: redisId
    group: 'redisEnterprise'
    zone: zoneNames[4]
  }
  {
    name: 'topic'
    resourceId: topicId
    group: 'topic'
    zone: zoneNames[5]
  }
]

resource zones 'Microsoft.Network/privateDnsZones@2024-06-01' = [for zone in zoneNames: {
  name: zone
  location: 'global'
  tags: tags
}]

resource links 'Microsoft.Network/privateDnsZones/virtualNetworkLinks@2024-06-01' = [for (zone, index) in zoneNames: {
  parent: zones[index]
  name: 'to-network'
  location: 'global'
  tags: tags
  properties: {
    registrationEnabled: false
    virtualNetwork: {
      id: networkId
    }
  }
}]

resource endpoints 'Microsoft.Network/privateEndpoints@2024-05-01' = [for service in services: {
  name: 'pep-${service.name}-${suffix}'
  location: location
  tags: tags
  properties: {
    subnet: {
      id: subnetId
    }
    privateLinkServiceConnections: [
      {
        name: service.name
        properties: {
          privateLinkServiceId: service.resourceId
          groupIds: [
            service.group
          ]
        }
      }
    ]
  }
}]

resource zoneGroups 'Microsoft.Network/privateEndpoints/privateDnsZoneGroups@2024-05-01' = [for (service, index) in services: {
  parent: endpoints[index]
  name: 'default'
  properties: {
    privateDnsZoneConfigs: [
      {
        name: service.name
        properties: {
          privateDnsZoneId: resourceId('Microsoft.Network/privateDnsZones', service.zone)
        }
      }
    ]
  }
  // Two endpoints share a zone, so the zone is named by its id, which gives no order.
  dependsOn: [
    zones
  ]
}]
