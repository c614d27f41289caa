import assert from 'node:assert/strict'
import { describe, it } from 'node:test'
import { acceptsJson, isJson } from '../../../src/apiserver/media-type.ts'

describe('a content type', () => {
  it('is JSON, with or without parameters', () => {
    for (const text of ['application/json', 'Application/JSON; charset=utf-8']) assert.ok(isJson(text))
    for (const text of [undefined, '', 'text/plain', 'application/yaml', 'application/json-patch+json']) {
      assert.ok(!isJson(text), text)
    }
  })
})

describe('what a client accepts', () => {
  it('contains JSON', () => {
    for (const text of [
      undefined,
      '',
      '*/*',
      'application/*',
      'application/json',
      'application/vnd.kubernetes.protobuf, application/json;q=0.5',
      'application/json;as=Table;v=v1;g=meta.k8s.io,application/json',
    ]) {
      assert.ok(acceptsJson(text), text)
    }
  })

  it('does not contain JSON', () => {
    for (const text of ['text/html', 'application/yaml', 'application/json;q=0', 'text/*, application/json; q=0.000']) {
      assert.ok(!acceptsJson(text), text)
    }
  })
})
