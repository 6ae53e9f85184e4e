// Mail by Azure Communication Services, which needs neither a mailbox nor an interactive consent.

param name string
param suffix string
param tags object

resource emailService 'Microsoft.Communication/emailServices@2023-04-01' = {
  name: 'acse-${suffix}'
  location: 'global'
  tags: tags
  properties: {
    dataLocation: 'Europe'
  }
}

resource domain 'Microsoft.Communication/emailServices/domains@2023-04-01' = {
  parent: emailService
  name: 'AzureManagedDomain'
  location: 'global'
  tags: tags
  properties: {
    domainManagement: 'AzureManaged'
    userEngagementTracking: 'Disabled'
  }
}

resource service 'Microsoft.Communication/communicationServices@2023-04-01' = {
  name: name
  location: 'global'
  tags: tags
  properties: {
    dataLocation: 'Europe'
    linkedDomains: [
      domain.id
    ]
  }
}

resource role 'Microsoft.Authorization/roleDefinitions@2022-04-01' = {
  name: guid(resourceGroup().id, 'send mail')
  properties: {
    roleName: 'Breakwater send mail ${suffix}'
    description: 'Send mail through one communication service.'
    type: 'CustomRole'
    assignableScopes: [
      resourceGroup().id
    ]
    permissions: [
      {
        actions: [
          'Microsoft.Communication/CommunicationServices/Read'
          'Microsoft.Communication/CommunicationServices/Write'
          'Microsoft.Communication/EmailServices/write'
        ]
      }
    ]
  }
}

output roleId string = role.id
output endpoint string = 'https://${service.properties.hostName}'
output sender string = 'DoNotReply@${domain.properties.fromSenderDomain}'
