// The environment and the registry of the console. This is a separate module, because the workflow
// needs the console's address, which the environment defines.

param suffix string
param location string
param tags object
param registryName string
param consoleName string
param workspaceId string
param subnetId string

resource registry 'Microsoft.ContainerRegistry/registries@2025-04-01' = {
  // checkov:skip=CKV_AZURE_139:Pushed to from wherever azd runs; pulling takes an identity. Private networking needs Premium
  // checkov:skip=CKV_AZURE_163:Scanning is Microsoft Defender's, switched on for a whole subscription
  // checkov:skip=CKV_AZURE_166:Quarantine needs Premium
  name: registryName
  location: location
  tags: tags
  sku: {
    name: 'Basic'
  }
  properties: {
    adminUserEnabled: false
    anonymousPullEnabled: false
  }
}

resource environment 'Microsoft.App/managedEnvironments@2025-01-01' = {
  name: 'cae-${suffix}'
  location: location
  tags: tags
  properties: {
    // The diagnostic setting below sends the logs, because this property needs the workspace's key.
    appLogsConfiguration: {
      destination: 'azure-monitor'
    }
    vnetConfiguration: empty(subnetId) ? null : {
      infrastructureSubnetId: subnetId
      internal: false
    }
    workloadProfiles: [
      {
        name: 'Consumption'
        workloadProfileType: 'Consumption'
      }
    ]
  }
}

resource diagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  name: 'to-workspace'
  scope: environment
  properties: {
    workspaceId: workspaceId
    logs: [
      {
        category: 'ContainerAppConsoleLogs'
        enabled: true
      }
      {
        category: 'ContainerAppSystemLogs'
        enabled: true
      }
    ]
  }
}

output registryEndpoint string = registry.properties.loginServer
output environmentId string = environment.id
output consoleUrl string = 'https://${consoleName}.${environment.properties.defaultDomain}'
