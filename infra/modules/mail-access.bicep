// The right of the workflow to send mail.

param principalId string
param roleId string
param mailServiceName string

resource service 'Microsoft.Communication/communicationServices@2023-04-01' existing = {
  name: mailServiceName
}

// The workflow sends the request for approval by mail.
resource access 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(service.id, principalId, roleId)
  scope: service
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: roleId
  }
}
