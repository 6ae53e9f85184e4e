// The Logic App that stops the app when its circuit opens, requests approval, and starts the app.

param name string
param location string
param tags object
param functionAppUrl string
param consoleUrl string

@secure()
param consoleToken string

param mailEndpoint string
param mailFrom string
param mailTo string
param workspaceId string

resource workflow 'Microsoft.Logic/workflows@2019-05-01' = {
  name: name
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
        value: functionAppUrl
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

output principalId string = workflow.identity.principalId
