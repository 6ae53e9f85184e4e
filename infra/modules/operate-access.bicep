// The right of one principal to read, stop and start the function app.

param principalId string
param roleId string
param functionAppName string

resource app 'Microsoft.Web/sites@2025-03-01' existing = {
  name: functionAppName
}

// The workflow and the operators at the console stop and start this app, and no other resource.
resource access 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(app.id, principalId, roleId)
  scope: app
  properties: {
    principalId: principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: roleId
  }
}
