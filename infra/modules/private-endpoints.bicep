// Private endpoints of all services that hold data, with their private DNS zones.

param suffix string
param location string
param tags object
param networkId string
param subnetId string
param storageId string
param eventHubsId string
param redisId string
param topicId string

var services = [
  {
    name: 'blob'
    resourceId: storageId
    group: 'blob'
    zone: 'privatelink.blob.${environment().suffixes.storage}'
  }
  {
    name: 'queue'
    resourceId: storageId
    group: 'queue'
    zone: 'privatelink.queue.${environment().suffixes.storage}'
  }
  {
    name: 'event-hubs'
    resourceId: eventHubsId
    group: 'namespace'
    zone: 'privatelink.servicebus.windows.net'
  }
  {
    name: 'redis'
    resourceId: redisId
    group: 'redisEnterprise'
    zone: 'privatelink.redis.azure.net'
  }
  {
    name: 'topic'
    resourceId: topicId
    group: 'topic'
    zone: 'privatelink.eventgrid.azure.net'
  }
]

resource zones 'Microsoft.Network/privateDnsZones@2024-06-01' = [for service in services: {
  name: service.zone
  location: 'global'
  tags: tags
}]

resource links 'Microsoft.Network/privateDnsZones/virtualNetworkLinks@2024-06-01' = [for (service, index) in services: {
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
          privateDnsZoneId: zones[index].id
        }
      }
    ]
  }
}]
