// The identities of the app and the console, created first, so that their rights exist at the start.

param suffix string
param location string
param tags object
param deployConsole bool

resource functionIdentity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: 'id-func-${suffix}'
  location: location
  tags: tags
}

resource consoleIdentity 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = if (deployConsole) {
  name: 'id-console-${suffix}'
  location: location
  tags: tags
}

output functionIdentityId string = functionIdentity.id
output functionPrincipalId string = functionIdentity.properties.principalId
output functionClientId string = functionIdentity.properties.clientId
output consoleIdentityId string = deployConsole ? consoleIdentity!.id : ''
output consolePrincipalId string = deployConsole ? consoleIdentity!.properties.principalId : ''
output consoleClientId string = deployConsole ? consoleIdentity!.properties.clientId : ''
