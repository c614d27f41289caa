// Made from crds/cdiconfigs.cdi.kubevirt.io.yaml by `npm run generate`. Do not edit.
import type { KubeObject } from '../kube/object.ts'

export interface CDIConfig extends KubeObject {
  spec: CDIConfigSpec
  status?: CDIConfigStatus | undefined
}

export interface CDIConfigStatus {
  defaultPodResourceRequirements?: CDIConfigStatusDefaultPodResourceRequirements | undefined
  filesystemOverhead?: CDIConfigStatusFilesystemOverhead | undefined
  imagePullSecrets?: CDIConfigStatusImagePullSecretsItem[] | undefined
  importProxy?: CDIConfigStatusImportProxy | undefined
  preallocation?: boolean | undefined
  scratchSpaceStorageClass?: string | undefined
  uploadProxyCA?: string | undefined
  uploadProxyURL?: string | undefined
}

export interface CDIConfigStatusImportProxy {
  HTTPProxy?: string | undefined
  HTTPSProxy?: string | undefined
  noProxy?: string | undefined
  trustedCAProxy?: string | undefined
}

export interface CDIConfigStatusImagePullSecretsItem {
  name?: string | undefined
}

export interface CDIConfigStatusFilesystemOverhead {
  global?: string | undefined
  storageClass?: Record<string, string> | undefined
}

export interface CDIConfigStatusDefaultPodResourceRequirements {
  claims?: CDIConfigStatusDefaultPodResourceRequirementsClaimsItem[] | undefined
  limits?: Record<string, number | string> | undefined
  requests?: Record<string, number | string> | undefined
}

export interface CDIConfigStatusDefaultPodResourceRequirementsClaimsItem {
  name: string
  request?: string | undefined
}

export interface CDIConfigSpec {
  dataVolumeTTLSeconds?: number | undefined
  featureGates?: string[] | undefined
  filesystemOverhead?: CDIConfigSpecFilesystemOverhead | undefined
  imagePullSecrets?: CDIConfigSpecImagePullSecretsItem[] | undefined
  importProxy?: CDIConfigSpecImportProxy | undefined
  insecureRegistries?: string[] | undefined
  logVerbosity?: number | undefined
  podResourceRequirements?: CDIConfigSpecPodResourceRequirements | undefined
  preallocation?: boolean | undefined
  scratchSpaceStorageClass?: string | undefined
  tlsSecurityProfile?: CDIConfigSpecTlsSecurityProfile | undefined
  uploadProxyURLOverride?: string | undefined
  webhookPvcRendering?: string | undefined
}

export interface CDIConfigSpecTlsSecurityProfile {
  custom?: CDIConfigSpecTlsSecurityProfileCustom | null | undefined
  intermediate?: Record<string, unknown> | null | undefined
  modern?: Record<string, unknown> | null | undefined
  old?: Record<string, unknown> | null | undefined
  type?: "Old" | "Intermediate" | "Modern" | "Custom" | undefined
}

export interface CDIConfigSpecTlsSecurityProfileCustom {
  ciphers: string[]
  minTLSVersion: "VersionTLS10" | "VersionTLS11" | "VersionTLS12" | "VersionTLS13"
}

export interface CDIConfigSpecPodResourceRequirements {
  claims?: CDIConfigSpecPodResourceRequirementsClaimsItem[] | undefined
  limits?: Record<string, number | string> | undefined
  requests?: Record<string, number | string> | undefined
}

export interface CDIConfigSpecPodResourceRequirementsClaimsItem {
  name: string
  request?: string | undefined
}

export interface CDIConfigSpecImportProxy {
  HTTPProxy?: string | undefined
  HTTPSProxy?: string | undefined
  noProxy?: string | undefined
  trustedCAProxy?: string | undefined
}

export interface CDIConfigSpecImagePullSecretsItem {
  name?: string | undefined
}

export interface CDIConfigSpecFilesystemOverhead {
  global?: string | undefined
  storageClass?: Record<string, string> | undefined
}
