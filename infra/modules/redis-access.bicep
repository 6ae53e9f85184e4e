// The principals with access to Redis. The only access policy, `default`, grants all commands and keys.

param redisName string
param functionPrincipalId string
param consolePrincipalId string
param operatorPrincipalId string

// The id of a principal that is not deployed is empty.
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

// One assignment at a time, because the database refuses concurrent changes.
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
