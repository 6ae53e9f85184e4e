// The Logic App that stops the app when its circuit opens, requests approval, and starts the app.

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
  // A system-assigned identity is deleted with the workflow, and no other resource can use it.
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

// The built-in role Website Contributor could also change the code and read the app's keys.
resource operateRole 'Microsoft.Authorization/roleDefinitions@2022-04-01' = {
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

// The scope is this app only, not the resource group.
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

// The workflow sends the request for approval by mail.
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
