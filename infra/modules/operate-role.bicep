// The role that reads, stops and starts the function app. The built-in role Website Contributor could
// also change the code and read the app's keys.

param suffix string

resource role 'Microsoft.Authorization/roleDefinitions@2022-04-01' = {
  name: guid(resourceGroup().id, 'stop and start the function app')
  properties: {
    roleName: 'Breakwater stop and start ${suffix}'
    description: 'Read, stop and start a function app.'
    type: 'CustomRole'
    assignableScopes: [
      resourceGroup().id
    ]
    permissions: [
      {
        actions: [
          'Microsoft.Web/sites/read'
          'Microsoft.Web/sites/stop/action'
          'Microsoft.Web/sites/start/action'
        ]
      }
    ]
  }
}

output id string = role.id
