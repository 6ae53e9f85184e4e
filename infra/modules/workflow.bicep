// The Logic App: stops the app when its circuit opens, asks, and starts it again.

param suffix string
param location string
param tags object
param functionAppName string
param consoleUrl string

@secure()
param consoleToken string

param mailServiceName string
param mailEndpoint string
param mailFrom string
param mailTo string
param workspaceId string

var mails = !empty(mailServiceName)

resource app 'Microsoft.Web/sites@2025-03-01' existing = {
  name: functionAppName
}

resource mailService 'Microsoft.Communication/communicationServices@2023-04-01' existing = if (mails) {
  name: mails ? mailServiceName : 'none'
}

resource workflow 'Microsoft.Logic/workflows@2019-05-01' = {
  name: 'logic-${suffix}'
  location: location
  tags: tags
  // Goes away with the workflow, and nobody else can use it.
  identity: {
    type: 'SystemAssigned'
  }
  properties: {
    state: 'Enabled'
    definition: loadJsonContent('../workflow.json')
    parameters: {
      functionAppUrl: {
        value: '${environment().resourceManager}${substring(app.id, 1)}'
      }
      managementAudience: {
        value: environment().resourceManager
      }
      consoleUrl: {
        value: consoleUrl
      }
      consoleToken: {
        value: consoleToken
      }
      mailEndpoint: {
        value: mailEndpoint
      }
      mailFrom: {
        value: mailFrom
      }
      mailTo: {
        value: mailTo
      }
    }
  }
}

// Website Contributor could also change the code and read its keys.
resource operateRole 'Microsoft.Authorization/roleDefinitions@2022-04-01' = {
  name: guid(resourceGroup().id, 'stop and start the function app')
  properties: {
    roleName: 'Breakwater stop and start ${suffix}'
    description: 'See a function app, stop it and start it; nothing else.'
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

// On that one app, not on whatever else comes into the resource group.
resource operateAccess 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  name: guid(app.id, workflow.id, operateRole.id)
  scope: app
  properties: {
    principalId: workflow.identity.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: operateRole.id
  }
}

resource mailRole 'Microsoft.Authorization/roleDefinitions@2022-04-01' = if (mails) {
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

// Sends the mail that an approval waits.
resource mailAccess 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (mails) {
  name: guid(mailServiceName, workflow.id, 'send mail')
  scope: mailService
  properties: {
    principalId: workflow.identity.principalId
    principalType: 'ServicePrincipal'
    roleDefinitionId: mailRole.id
  }
}

resource diagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'to-workspace'
  scope: workflow
  properties: {
    workspaceId: workspaceId
    logs: [
      {
        category: 'WorkflowRuntime'
        enabled: true
      }
    ]
    metrics: [
      {
        category: 'AllMetrics'
        enabled: true
      }
    ]
  }
}

output id string = workflow.id
output name string = workflow.name
