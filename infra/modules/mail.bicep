// Mail by Azure Communication Services, which needs neither a mailbox nor an interactive consent.

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
  name: 'acs-${suffix}'
  location: 'global'
  tags: tags
  properties: {
    dataLocation: 'Europe'
    linkedDomains: [
      domain.id
    ]
  }
}

output name string = service.name
output endpoint string = 'https://${service.properties.hostName}'
output sender string = 'DoNotReply@${domain.properties.fromSenderDomain}'
