// The image that the console runs now, so that a deployment of the template does not replace the image
// with the placeholder. azd finds out whether the console exists.

param name string
param exists bool

resource console 'Microsoft.App/containerApps@2025-01-01' existing = if (exists) {
  name: name
}

output image string = exists ? console!.properties.template.containers[0].image : ''
