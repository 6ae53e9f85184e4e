// Who may use Redis. Its one policy, `default`, is everything; narrower ones do not exist yet.

param redisName string
param functionPrincipalId string
param consolePrincipalId string
param operatorPrincipalId string

// Whoever is not there has an empty id.
var principalIds = filter([
  functionPrincipalId
  consolePrincipalId
  operatorPrincipalId
], id => !empty(id))

resource redis 'Microsoft.Cache/redisEnterprise@2025-07-01' existing = {
  name: redisName
}

resource database 'Microsoft.Cache/redisEnterprise/databases@2025-07-01' existing = {
  parent: redis
  name: 'default'
}

// One after the other: the database refuses a change while another one runs.
@batchSize(1)
resource assignments 'Microsoft.Cache/redisEnterprise/databases/accessPolicyAssignments@2025-07-01' = [for principalId in principalIds: {
  parent: database
  name: uniqueString(database.id, principalId)
  properties: {
    accessPolicyName: 'default'
    user: {
      objectId: principalId
    }
  }
}]
