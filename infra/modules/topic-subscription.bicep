// The subscription that starts the workflow when a circuit opens. Alerts that are undelivered after
// an hour become dead letters.

param name string
param topicName string
param workflowName string
param storageName string
param deadLetterContainer string

resource topic 'Microsoft.EventGrid/topics@2025-02-15' existing = {
  name: topicName
}

resource account 'Microsoft.Storage/storageAccounts@2025-06-01' existing = {
  name: storageName
}

resource opened 'Microsoft.EventGrid/topics/eventSubscriptions@2025-02-15' = {
  parent: topic
  name: name
  properties: {
    eventDeliverySchema: 'CloudEventSchemaV1_0'
    destination: {
      endpointType: 'WebHook'
      properties: {
        // The signed address is a secret, so no module has it as an output.
        endpointUrl: listCallbackUrl(resourceId('Microsoft.Logic/workflows/triggers', workflowName, 'circuit_opened'), '2019-05-01').value
        maxEventsPerBatch: 1
      }
    }
    filter: {
      includedEventTypes: [
        'breakwater.circuit.opened'
      ]
    }
    retryPolicy: {
      maxDeliveryAttempts: 30
      // An opening that the workflow gets later than this is of little use; dead letters cause an alert.
      eventTimeToLiveInMinutes: 60
    }
    deadLetterWithResourceIdentity: {
      identity: {
        type: 'SystemAssigned'
      }
      deadLetterDestination: {
        endpointType: 'StorageBlob'
        properties: {
          resourceId: account.id
          blobContainerName: deadLetterContainer
        }
      }
    }
  }
}
