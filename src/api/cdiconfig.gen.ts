// Made from crds/cdiconfigs.cdi.kubevirt.io.yaml by `npm run generate`. Do not edit.
import type { KubeObject } from '../kube/object.ts'

/** Settings of the service in this cluster. The spec is copied from the CDI object; change it there. Everybody may read the status. */
export interface CDIConfig extends KubeObject {
  /** Settings as written in the CDI object. */
  spec: CDIConfigSpec
  /** CDIConfigStatus provides the most recently observed status of the CDI configuration: the values that are in force, defaults included. */
  status?: CDIConfigStatus | undefined
}

/** CDIConfigStatus provides the most recently observed status of the CDI configuration: the values that are in force, defaults included. */
export interface CDIConfigStatus {
  /** CPU and memory of every worker container. */
  defaultPodResourceRequirements?: CDIConfigStatusDefaultPodResourceRequirements | undefined
  /** Share of a volume that its file system takes. */
  filesystemOverhead?: CDIConfigStatusFilesystemOverhead | undefined
  /** Secrets that the images of worker pods are pulled with. */
  imagePullSecrets?: CDIConfigStatusImagePullSecretsItem[] | undefined
  /** Proxy that imports use. */
  importProxy?: CDIConfigStatusImportProxy | undefined
  /** Whether disks are preallocated when a DataVolume does not say. */
  preallocation?: boolean | undefined
  /** StorageClass of scratch volumes. Empty: that of the volume to be filled. */
  scratchSpaceStorageClass?: string | undefined
  /** PEM certificates to verify the upload proxy with. */
  uploadProxyCA?: string | undefined
  /** The calculated upload proxy URL, without a scheme: the override, else the host of the Ingress or Route of the proxy. */
  uploadProxyURL?: string | undefined
}

/** Proxy that imports use. */
export interface CDIConfigStatusImportProxy {
  /** URL of the proxy for http, e.g. http://user:password@proxy:3128. */
  HTTPProxy?: string | undefined
  /** URL of the proxy for https. */
  HTTPSProxy?: string | undefined
  /** What is reached without the proxy: host names, domain suffixes, addresses and CIDR ranges, separated by commas; * for everything. */
  noProxy?: string | undefined
  /** ConfigMap in the namespace of the service with PEM certificates of further authorities that proxies and servers are trusted by. */
  trustedCAProxy?: string | undefined
}

export interface CDIConfigStatusImagePullSecretsItem {
  /** Name of the Secret. */
  name?: string | undefined
}

/** Share of a volume that its file system takes. */
export interface CDIConfigStatusFilesystemOverhead {
  /** Share for claims of no known class. */
  global?: string | undefined
  /** Share for every StorageClass of the cluster. */
  storageClass?: Record<string, string> | undefined
}

/** CPU and memory of every worker container. */
export interface CDIConfigStatusDefaultPodResourceRequirements {
  /** Resource claims, as in a Pod. */
  claims?: CDIConfigStatusDefaultPodResourceRequirementsClaimsItem[] | undefined
  /** Most that a worker may use. */
  limits?: Record<string, number | string> | undefined
  /** What a worker is guaranteed. */
  requests?: Record<string, number | string> | undefined
}

export interface CDIConfigStatusDefaultPodResourceRequirementsClaimsItem {
  /** Name of the claim in the spec of the pod. */
  name: string
  /** Name of a request of the claim. */
  request?: string | undefined
}

/** Settings as written in the CDI object. */
export interface CDIConfigSpec {
  /** Has no effect: DataVolumes are never deleted on their own. */
  dataVolumeTTLSeconds?: number | undefined
  /** Behaviour to switch on: HonorWaitForFirstConsumer, DataVolumeClaimAdoption. Unknown names are ignored. */
  featureGates?: string[] | undefined
  /** Share of a volume that its file system takes; claims of spec.storage are made larger by it. */
  filesystemOverhead?: CDIConfigSpecFilesystemOverhead | undefined
  /** Secrets that the images of the service and of worker pods are pulled with. */
  imagePullSecrets?: CDIConfigSpecImagePullSecretsItem[] | undefined
  /** Proxy that imports use. */
  importProxy?: CDIConfigSpecImportProxy | undefined
  /** Registries as host[:port] whose certificates are not verified. */
  insecureRegistries?: string[] | undefined
  /** How much the service logs; default 1. */
  logVerbosity?: number | undefined
  /** CPU and memory of every worker container. What is left out keeps its default (limits 750m and 600M, requests 100m and 60M). */
  podResourceRequirements?: CDIConfigSpecPodResourceRequirements | undefined
  /** Preallocate disks when a DataVolume does not say. */
  preallocation?: boolean | undefined
  /** StorageClass of scratch volumes. Left out, or the name of no class: that of the volume to be filled. */
  scratchSpaceStorageClass?: string | undefined
  /** Which TLS versions and ciphers the servers of this service accept. */
  tlsSecurityProfile?: CDIConfigSpecTlsSecurityProfile | undefined
  /** Address of the upload proxy that clients shall use. */
  uploadProxyURLOverride?: string | undefined
  /** Enabled (the default) or Disabled: whether claims labelled cdi.kubevirt.io/applyStorageProfile are completed from the StorageProfile. */
  webhookPvcRendering?: string | undefined
}

/** Which TLS versions and ciphers the servers of this service accept. */
export interface CDIConfigSpecTlsSecurityProfile {
  /** Own choice, for type Custom. */
  custom?: CDIConfigSpecTlsSecurityProfileCustom | null | undefined
  /** For most clients: TLS 1.2 and later. */
  intermediate?: Record<string, unknown> | null | undefined
  /** For new clients only: TLS 1.3. */
  modern?: Record<string, unknown> | null | undefined
  /** For very old clients: TLS 1.0 and later. */
  old?: Record<string, unknown> | null | undefined
  /** Old, Intermediate (the default), Modern or Custom. */
  type?: "Old" | "Intermediate" | "Modern" | "Custom" | undefined
}

/** Own choice, for type Custom. */
export interface CDIConfigSpecTlsSecurityProfileCustom {
  /** Cipher suites by their OpenSSL names. */
  ciphers: string[]
  /** Oldest TLS version that is accepted. */
  minTLSVersion: "VersionTLS10" | "VersionTLS11" | "VersionTLS12" | "VersionTLS13"
}

/** CPU and memory of every worker container. What is left out keeps its default (limits 750m and 600M, requests 100m and 60M). */
export interface CDIConfigSpecPodResourceRequirements {
  /** Resource claims, as in a Pod. */
  claims?: CDIConfigSpecPodResourceRequirementsClaimsItem[] | undefined
  /** Most that a worker may use. */
  limits?: Record<string, number | string> | undefined
  /** What a worker is guaranteed. */
  requests?: Record<string, number | string> | undefined
}

export interface CDIConfigSpecPodResourceRequirementsClaimsItem {
  /** Name of the claim in the spec of the pod. */
  name: string
  /** Name of a request of the claim. */
  request?: string | undefined
}

/** Proxy that imports use. */
export interface CDIConfigSpecImportProxy {
  /** URL of the proxy for http, e.g. http://user:password@proxy:3128. */
  HTTPProxy?: string | undefined
  /** URL of the proxy for https. */
  HTTPSProxy?: string | undefined
  /** What is reached without the proxy: host names, domain suffixes, addresses and CIDR ranges, separated by commas; * for everything. */
  noProxy?: string | undefined
  /** ConfigMap in the namespace of the service with PEM certificates of further authorities that proxies and servers are trusted by. */
  trustedCAProxy?: string | undefined
}

export interface CDIConfigSpecImagePullSecretsItem {
  /** Name of the Secret. */
  name?: string | undefined
}

/** Share of a volume that its file system takes; claims of spec.storage are made larger by it. */
export interface CDIConfigSpecFilesystemOverhead {
  /** Share for all classes without a value of their own, from 0 to 1 with up to three decimals. Default 0.06. */
  global?: string | undefined
  /** Share by name of the StorageClass. */
  storageClass?: Record<string, string> | undefined
}
