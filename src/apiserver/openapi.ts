/**
 * The OpenAPI document (Swagger 2.0, from which the API server makes OpenAPI 3 itself): so that `kubectl explain utr` has
 * something to say and kubectl notices misspelt fields. Names of definitions follow Kubernetes' habit.
 */
import { groupPath, uploadGroup, uploadTokenRequest, uploadVersion, versionPath } from './resource.ts'

const definition = 'io.kubevirt.cdi.upload.v1beta1.UploadTokenRequest'
const specDefinition = `${definition}Spec`
const statusDefinition = `${definition}Status`
const metadataDefinition = 'io.kubevirt.cdi.upload.v1beta1.ObjectMeta'

const text = (description: string): object => ({ type: 'string', description })
const texts = (description: string): object => ({
  type: 'object',
  description,
  additionalProperties: { type: 'string' },
})
const reference = (name: string, description: string): object => ({ description, $ref: `#/definitions/${name}` })

const objects = (description: string): object => ({ type: 'array', description, items: { type: 'object' } })

/** Kubernetes' metadata; the members are also those that the validation of fields knows. */
const metadataProperties = {
  annotations: texts('Free notes about the object.'),
  creationTimestamp: text('Ignored: a request is not stored.'),
  deletionGracePeriodSeconds: { type: 'integer', format: 'int64', description: 'Ignored: a request is not stored.' },
  deletionTimestamp: text('Ignored: a request is not stored.'),
  finalizers: { type: 'array', items: { type: 'string' }, description: 'Ignored: a request is not stored.' },
  generateName: text('Sent back as it is: a request is not stored, so it needs no name.'),
  generation: { type: 'integer', format: 'int64', description: 'Ignored: a request is not stored.' },
  labels: texts('Labels of the object.'),
  managedFields: objects('Ignored: a request is not stored.'),
  name: text('Sent back as it is: a request is not stored, so it needs no name.'),
  namespace: text('The namespace of the claim: that of the address.'),
  ownerReferences: objects('Ignored: a request is not stored.'),
  resourceVersion: text('Ignored: a request is not stored.'),
  selfLink: text('Ignored: a request is not stored.'),
  uid: text('Ignored: a request is not stored.'),
}

const requestProperties = {
  apiVersion: text('Group and version of the API that this object is written in.'),
  kind: text('Kind of the object.'),
  metadata: reference(metadataDefinition, 'Metadata of the object, which is sent back as it came.'),
  spec: reference(specDefinition, 'What the token shall be good for.'),
  status: reference(statusDefinition, 'The token, in the answer.'),
}

const specProperties = { pvcName: text('Name of the PersistentVolumeClaim that shall be filled.') }
const statusProperties = { token: text('The token: it lets its holder upload into the claim, for five minutes.') }

const groupVersionKind = { group: uploadGroup, kind: uploadTokenRequest.kind, version: uploadVersion }

const queryParameters = [
  ['dryRun', 'All: check everything and issue no token.'],
  ['fieldManager', 'Ignored: a request is not stored.'],
  ['fieldValidation', 'What to do about unknown fields: Ignore, Warn or Strict.'],
  ['pretty', 'Ignored.'],
].map(([name, description]) => ({ name, in: 'query', type: 'string', uniqueItems: true, description }))

function read(description: string, operationId: string): object {
  return {
    get: {
      description,
      operationId,
      produces: ['application/json'],
      schemes: ['https'],
      responses: { 200: { description: 'OK' }, 401: { description: 'Unauthorized' } },
    },
  }
}

const namespaceParameter = {
  name: 'namespace',
  in: 'path',
  required: true,
  type: 'string',
  uniqueItems: true,
  description: 'Namespace of the claim.',
}

/**
 * kubectl looks for the parameter fieldValidation at this operation, whatever it wants to send. Where it does not find it, it
 * asks whether the kind is a CRD, which ordinary users must not know, and gives up: so the operation is described although
 * there is nothing to patch.
 */
const patch = {
  description: 'not served: a request is not stored, so there is nothing to change',
  operationId: 'patchUploadCdiKubevirtIoV1beta1NamespacedUploadTokenRequest',
  tags: ['uploadCdiKubevirtIo_v1beta1'],
  consumes: ['application/merge-patch+json'],
  produces: ['application/json'],
  schemes: ['https'],
  parameters: [{ name: 'body', in: 'body', required: true, schema: { type: 'object' } }, ...queryParameters],
  responses: { 404: { description: 'Not Found' } },
  'x-kubernetes-action': 'patch',
  'x-kubernetes-group-version-kind': groupVersionKind,
}

/** @param version of this program */
export function openApiDocument(version: string): object {
  return {
    swagger: '2.0',
    info: {
      title: 'KubeVirt Containerized Data Importer API',
      description: 'Containerized Data Importer for KubeVirt.',
      version,
    },
    paths: {
      '/apis/': read('get the groups that are served', 'getAPIGroupList'),
      [`${groupPath}/`]: read('get information of a group', 'getUploadCdiKubevirtIoAPIGroup'),
      [`${versionPath}/`]: read('get available resources', 'getUploadCdiKubevirtIoV1beta1APIResources'),
      [`${versionPath}/namespaces/{namespace}/${uploadTokenRequest.plural}`]: {
        parameters: [namespaceParameter],
        post: {
          description: 'create an UploadTokenRequest: the answer holds a token for an upload',
          operationId: 'createUploadCdiKubevirtIoV1beta1NamespacedUploadTokenRequest',
          tags: ['uploadCdiKubevirtIo_v1beta1'],
          consumes: ['application/json'],
          produces: ['application/json'],
          schemes: ['https'],
          parameters: [
            { name: 'body', in: 'body', required: true, schema: { $ref: `#/definitions/${definition}` } },
            ...queryParameters,
          ],
          responses: {
            200: { description: 'OK', schema: { $ref: `#/definitions/${definition}` } },
            401: { description: 'Unauthorized' },
          },
          'x-kubernetes-action': 'post',
          'x-kubernetes-group-version-kind': groupVersionKind,
        },
      },
      [`${versionPath}/namespaces/{namespace}/${uploadTokenRequest.plural}/{name}`]: {
        parameters: [namespaceParameter, { ...namespaceParameter, name: 'name', description: 'Name of the request.' }],
        patch,
      },
    },
    definitions: {
      [definition]: {
        description: 'UploadTokenRequest asks for a token with which a client may upload a disk into a claim.',
        type: 'object',
        properties: requestProperties,
        'x-kubernetes-group-version-kind': [groupVersionKind],
      },
      [specDefinition]: {
        description: 'UploadTokenRequestSpec says what the token shall be good for.',
        type: 'object',
        required: ['pvcName'],
        properties: specProperties,
      },
      [statusDefinition]: {
        description: 'UploadTokenRequestStatus holds the token.',
        type: 'object',
        properties: statusProperties,
      },
      [metadataDefinition]: {
        description: 'ObjectMeta is the metadata that every object of Kubernetes has.',
        type: 'object',
        properties: metadataProperties,
      },
    },
    securityDefinitions: {
      BearerToken: { type: 'apiKey', name: 'authorization', in: 'header', description: 'Bearer Token authentication' },
    },
    security: [{ BearerToken: [] }],
  }
}

/** The members that each part of a request may have, by the path of the part. */
export const knownMembers = {
  '': Object.keys(requestProperties),
  metadata: Object.keys(metadataProperties),
  spec: Object.keys(specProperties),
  status: Object.keys(statusProperties),
} as const
