// Made from crds/cdis.cdi.kubevirt.io.yaml by `npm run generate`. Do not edit.
import type { KubeObject } from '../kube/object.ts'

export interface CDI extends KubeObject {
  spec: CDISpec
  status?: CDIStatus | undefined
}

export interface CDIStatus {
  conditions?: CDIStatusConditionsItem[] | undefined
  observedVersion?: string | undefined
  operatorVersion?: string | undefined
  phase?: string | undefined
  targetVersion?: string | undefined
}

export interface CDIStatusConditionsItem {
  lastHeartbeatTime?: string | undefined
  lastTransitionTime?: string | undefined
  message?: string | undefined
  reason?: string | undefined
  status: string
  type: string
}

export interface CDISpec {
  certConfig?: CDISpecCertConfig | undefined
  cloneStrategyOverride?: "copy" | "snapshot" | "csi-clone" | undefined
  config?: CDISpecConfig | undefined
  customizeComponents?: CDISpecCustomizeComponents | undefined
  imagePullPolicy?: "Always" | "IfNotPresent" | "Never" | undefined
  infra?: CDISpecInfra | undefined
  priorityClass?: string | undefined
  uninstallStrategy?: "RemoveWorkloads" | "BlockUninstallIfWorkloadsExist" | undefined
  workload?: CDISpecWorkload | undefined
}

export interface CDISpecWorkload {
  affinity?: CDISpecWorkloadAffinity | undefined
  nodeSelector?: Record<string, string> | undefined
  tolerations?: CDISpecWorkloadTolerationsItem[] | undefined
}

export interface CDISpecWorkloadTolerationsItem {
  effect?: string | undefined
  key?: string | undefined
  operator?: string | undefined
  tolerationSeconds?: number | undefined
  value?: string | undefined
}

export interface CDISpecWorkloadAffinity {
  nodeAffinity?: CDISpecWorkloadAffinityNodeAffinity | undefined
  podAffinity?: CDISpecWorkloadAffinityPodAffinity | undefined
  podAntiAffinity?: CDISpecWorkloadAffinityPodAntiAffinity | undefined
}

export interface CDISpecWorkloadAffinityPodAntiAffinity {
  preferredDuringSchedulingIgnoredDuringExecution?: CDISpecWorkloadAffinityPodAntiAffinityPreferredDuringSchedulingIgnoredDuringExecutionItem[] | undefined
  requiredDuringSchedulingIgnoredDuringExecution?: CDISpecWorkloadAffinityPodAntiAffinityRequiredDuringSchedulingIgnoredDuringExecutionItem[] | undefined
}

export interface CDISpecWorkloadAffinityPodAntiAffinityRequiredDuringSchedulingIgnoredDuringExecutionItem {
  labelSelector?: CDISpecWorkloadAffinityPodAntiAffinityRequiredDuringSchedulingIgnoredDuringExecutionItemLabelSelector | undefined
  matchLabelKeys?: string[] | undefined
  mismatchLabelKeys?: string[] | undefined
  namespaceSelector?: CDISpecWorkloadAffinityPodAntiAffinityRequiredDuringSchedulingIgnoredDuringExecutionItemNamespaceSelector | undefined
  namespaces?: string[] | undefined
  topologyKey: string
}

export interface CDISpecWorkloadAffinityPodAntiAffinityRequiredDuringSchedulingIgnoredDuringExecutionItemNamespaceSelector {
  matchExpressions?: CDISpecWorkloadAffinityPodAntiAffinityRequiredDuringSchedulingIgnoredDuringExecutionItemNamespaceSelectorMatchExpressionsItem[] | undefined
  matchLabels?: Record<string, string> | undefined
}

export interface CDISpecWorkloadAffinityPodAntiAffinityRequiredDuringSchedulingIgnoredDuringExecutionItemNamespaceSelectorMatchExpressionsItem {
  key: string
  operator: string
  values?: string[] | undefined
}

export interface CDISpecWorkloadAffinityPodAntiAffinityRequiredDuringSchedulingIgnoredDuringExecutionItemLabelSelector {
  matchExpressions?: CDISpecWorkloadAffinityPodAntiAffinityRequiredDuringSchedulingIgnoredDuringExecutionItemLabelSelectorMatchExpressionsItem[] | undefined
  matchLabels?: Record<string, string> | undefined
}

export interface CDISpecWorkloadAffinityPodAntiAffinityRequiredDuringSchedulingIgnoredDuringExecutionItemLabelSelectorMatchExpressionsItem {
  key: string
  operator: string
  values?: string[] | undefined
}

export interface CDISpecWorkloadAffinityPodAntiAffinityPreferredDuringSchedulingIgnoredDuringExecutionItem {
  podAffinityTerm: CDISpecWorkloadAffinityPodAntiAffinityPreferredDuringSchedulingIgnoredDuringExecutionItemPodAffinityTerm
  weight: number
}

export interface CDISpecWorkloadAffinityPodAntiAffinityPreferredDuringSchedulingIgnoredDuringExecutionItemPodAffinityTerm {
  labelSelector?: CDISpecWorkloadAffinityPodAntiAffinityPreferredDuringSchedulingIgnoredDuringExecutionItemPodAffinityTermLabelSelector | undefined
  matchLabelKeys?: string[] | undefined
  mismatchLabelKeys?: string[] | undefined
  namespaceSelector?: CDISpecWorkloadAffinityPodAntiAffinityPreferredDuringSchedulingIgnoredDuringExecutionItemPodAffinityTermNamespaceSelector | undefined
  namespaces?: string[] | undefined
  topologyKey: string
}

export interface CDISpecWorkloadAffinityPodAntiAffinityPreferredDuringSchedulingIgnoredDuringExecutionItemPodAffinityTermNamespaceSelector {
  matchExpressions?: CDISpecWorkloadAffinityPodAntiAffinityPreferredDuringSchedulingIgnoredDuringExecutionItemPodAffinityTermNamespaceSelectorMatchExpressionsItem[] | undefined
  matchLabels?: Record<string, string> | undefined
}

export interface CDISpecWorkloadAffinityPodAntiAffinityPreferredDuringSchedulingIgnoredDuringExecutionItemPodAffinityTermNamespaceSelectorMatchExpressionsItem {
  key: string
  operator: string
  values?: string[] | undefined
}

export interface CDISpecWorkloadAffinityPodAntiAffinityPreferredDuringSchedulingIgnoredDuringExecutionItemPodAffinityTermLabelSelector {
  matchExpressions?: CDISpecWorkloadAffinityPodAntiAffinityPreferredDuringSchedulingIgnoredDuringExecutionItemPodAffinityTermLabelSelectorMatchExpressionsItem[] | undefined
  matchLabels?: Record<string, string> | undefined
}

export interface CDISpecWorkloadAffinityPodAntiAffinityPreferredDuringSchedulingIgnoredDuringExecutionItemPodAffinityTermLabelSelectorMatchExpressionsItem {
  key: string
  operator: string
  values?: string[] | undefined
}

export interface CDISpecWorkloadAffinityPodAffinity {
  preferredDuringSchedulingIgnoredDuringExecution?: CDISpecWorkloadAffinityPodAffinityPreferredDuringSchedulingIgnoredDuringExecutionItem[] | undefined
  requiredDuringSchedulingIgnoredDuringExecution?: CDISpecWorkloadAffinityPodAffinityRequiredDuringSchedulingIgnoredDuringExecutionItem[] | undefined
}

export interface CDISpecWorkloadAffinityPodAffinityRequiredDuringSchedulingIgnoredDuringExecutionItem {
  labelSelector?: CDISpecWorkloadAffinityPodAffinityRequiredDuringSchedulingIgnoredDuringExecutionItemLabelSelector | undefined
  matchLabelKeys?: string[] | undefined
  mismatchLabelKeys?: string[] | undefined
  namespaceSelector?: CDISpecWorkloadAffinityPodAffinityRequiredDuringSchedulingIgnoredDuringExecutionItemNamespaceSelector | undefined
  namespaces?: string[] | undefined
  topologyKey: string
}

export interface CDISpecWorkloadAffinityPodAffinityRequiredDuringSchedulingIgnoredDuringExecutionItemNamespaceSelector {
  matchExpressions?: CDISpecWorkloadAffinityPodAffinityRequiredDuringSchedulingIgnoredDuringExecutionItemNamespaceSelectorMatchExpressionsItem[] | undefined
  matchLabels?: Record<string, string> | undefined
}

export interface CDISpecWorkloadAffinityPodAffinityRequiredDuringSchedulingIgnoredDuringExecutionItemNamespaceSelectorMatchExpressionsItem {
  key: string
  operator: string
  values?: string[] | undefined
}

export interface CDISpecWorkloadAffinityPodAffinityRequiredDuringSchedulingIgnoredDuringExecutionItemLabelSelector {
  matchExpressions?: CDISpecWorkloadAffinityPodAffinityRequiredDuringSchedulingIgnoredDuringExecutionItemLabelSelectorMatchExpressionsItem[] | undefined
  matchLabels?: Record<string, string> | undefined
}

export interface CDISpecWorkloadAffinityPodAffinityRequiredDuringSchedulingIgnoredDuringExecutionItemLabelSelectorMatchExpressionsItem {
  key: string
  operator: string
  values?: string[] | undefined
}

export interface CDISpecWorkloadAffinityPodAffinityPreferredDuringSchedulingIgnoredDuringExecutionItem {
  podAffinityTerm: CDISpecWorkloadAffinityPodAffinityPreferredDuringSchedulingIgnoredDuringExecutionItemPodAffinityTerm
  weight: number
}

export interface CDISpecWorkloadAffinityPodAffinityPreferredDuringSchedulingIgnoredDuringExecutionItemPodAffinityTerm {
  labelSelector?: CDISpecWorkloadAffinityPodAffinityPreferredDuringSchedulingIgnoredDuringExecutionItemPodAffinityTermLabelSelector | undefined
  matchLabelKeys?: string[] | undefined
  mismatchLabelKeys?: string[] | undefined
  namespaceSelector?: CDISpecWorkloadAffinityPodAffinityPreferredDuringSchedulingIgnoredDuringExecutionItemPodAffinityTermNamespaceSelector | undefined
  namespaces?: string[] | undefined
  topologyKey: string
}

export interface CDISpecWorkloadAffinityPodAffinityPreferredDuringSchedulingIgnoredDuringExecutionItemPodAffinityTermNamespaceSelector {
  matchExpressions?: CDISpecWorkloadAffinityPodAffinityPreferredDuringSchedulingIgnoredDuringExecutionItemPodAffinityTermNamespaceSelectorMatchExpressionsItem[] | undefined
  matchLabels?: Record<string, string> | undefined
}

export interface CDISpecWorkloadAffinityPodAffinityPreferredDuringSchedulingIgnoredDuringExecutionItemPodAffinityTermNamespaceSelectorMatchExpressionsItem {
  key: string
  operator: string
  values?: string[] | undefined
}

export interface CDISpecWorkloadAffinityPodAffinityPreferredDuringSchedulingIgnoredDuringExecutionItemPodAffinityTermLabelSelector {
  matchExpressions?: CDISpecWorkloadAffinityPodAffinityPreferredDuringSchedulingIgnoredDuringExecutionItemPodAffinityTermLabelSelectorMatchExpressionsItem[] | undefined
  matchLabels?: Record<string, string> | undefined
}

export interface CDISpecWorkloadAffinityPodAffinityPreferredDuringSchedulingIgnoredDuringExecutionItemPodAffinityTermLabelSelectorMatchExpressionsItem {
  key: string
  operator: string
  values?: string[] | undefined
}

export interface CDISpecWorkloadAffinityNodeAffinity {
  preferredDuringSchedulingIgnoredDuringExecution?: CDISpecWorkloadAffinityNodeAffinityPreferredDuringSchedulingIgnoredDuringExecutionItem[] | undefined
  requiredDuringSchedulingIgnoredDuringExecution?: CDISpecWorkloadAffinityNodeAffinityRequiredDuringSchedulingIgnoredDuringExecution | undefined
}

export interface CDISpecWorkloadAffinityNodeAffinityRequiredDuringSchedulingIgnoredDuringExecution {
  nodeSelectorTerms: CDISpecWorkloadAffinityNodeAffinityRequiredDuringSchedulingIgnoredDuringExecutionNodeSelectorTermsItem[]
}

export interface CDISpecWorkloadAffinityNodeAffinityRequiredDuringSchedulingIgnoredDuringExecutionNodeSelectorTermsItem {
  matchExpressions?: CDISpecWorkloadAffinityNodeAffinityRequiredDuringSchedulingIgnoredDuringExecutionNodeSelectorTermsItemMatchExpressionsItem[] | undefined
  matchFields?: CDISpecWorkloadAffinityNodeAffinityRequiredDuringSchedulingIgnoredDuringExecutionNodeSelectorTermsItemMatchFieldsItem[] | undefined
}

export interface CDISpecWorkloadAffinityNodeAffinityRequiredDuringSchedulingIgnoredDuringExecutionNodeSelectorTermsItemMatchFieldsItem {
  key: string
  operator: string
  values?: string[] | undefined
}

export interface CDISpecWorkloadAffinityNodeAffinityRequiredDuringSchedulingIgnoredDuringExecutionNodeSelectorTermsItemMatchExpressionsItem {
  key: string
  operator: string
  values?: string[] | undefined
}

export interface CDISpecWorkloadAffinityNodeAffinityPreferredDuringSchedulingIgnoredDuringExecutionItem {
  preference: CDISpecWorkloadAffinityNodeAffinityPreferredDuringSchedulingIgnoredDuringExecutionItemPreference
  weight: number
}

export interface CDISpecWorkloadAffinityNodeAffinityPreferredDuringSchedulingIgnoredDuringExecutionItemPreference {
  matchExpressions?: CDISpecWorkloadAffinityNodeAffinityPreferredDuringSchedulingIgnoredDuringExecutionItemPreferenceMatchExpressionsItem[] | undefined
  matchFields?: CDISpecWorkloadAffinityNodeAffinityPreferredDuringSchedulingIgnoredDuringExecutionItemPreferenceMatchFieldsItem[] | undefined
}

export interface CDISpecWorkloadAffinityNodeAffinityPreferredDuringSchedulingIgnoredDuringExecutionItemPreferenceMatchFieldsItem {
  key: string
  operator: string
  values?: string[] | undefined
}

export interface CDISpecWorkloadAffinityNodeAffinityPreferredDuringSchedulingIgnoredDuringExecutionItemPreferenceMatchExpressionsItem {
  key: string
  operator: string
  values?: string[] | undefined
}

export interface CDISpecInfra {
  affinity?: CDISpecInfraAffinity | undefined
  apiServerReplicas?: number | undefined
  deploymentReplicas?: number | undefined
  nodeSelector?: Record<string, string> | undefined
  tolerations?: CDISpecInfraTolerationsItem[] | undefined
  uploadProxyReplicas?: number | undefined
}

export interface CDISpecInfraTolerationsItem {
  effect?: string | undefined
  key?: string | undefined
  operator?: string | undefined
  tolerationSeconds?: number | undefined
  value?: string | undefined
}

export interface CDISpecInfraAffinity {
  nodeAffinity?: CDISpecInfraAffinityNodeAffinity | undefined
  podAffinity?: CDISpecInfraAffinityPodAffinity | undefined
  podAntiAffinity?: CDISpecInfraAffinityPodAntiAffinity | undefined
}

export interface CDISpecInfraAffinityPodAntiAffinity {
  preferredDuringSchedulingIgnoredDuringExecution?: CDISpecInfraAffinityPodAntiAffinityPreferredDuringSchedulingIgnoredDuringExecutionItem[] | undefined
  requiredDuringSchedulingIgnoredDuringExecution?: CDISpecInfraAffinityPodAntiAffinityRequiredDuringSchedulingIgnoredDuringExecutionItem[] | undefined
}

export interface CDISpecInfraAffinityPodAntiAffinityRequiredDuringSchedulingIgnoredDuringExecutionItem {
  labelSelector?: CDISpecInfraAffinityPodAntiAffinityRequiredDuringSchedulingIgnoredDuringExecutionItemLabelSelector | undefined
  matchLabelKeys?: string[] | undefined
  mismatchLabelKeys?: string[] | undefined
  namespaceSelector?: CDISpecInfraAffinityPodAntiAffinityRequiredDuringSchedulingIgnoredDuringExecutionItemNamespaceSelector | undefined
  namespaces?: string[] | undefined
  topologyKey: string
}

export interface CDISpecInfraAffinityPodAntiAffinityRequiredDuringSchedulingIgnoredDuringExecutionItemNamespaceSelector {
  matchExpressions?: CDISpecInfraAffinityPodAntiAffinityRequiredDuringSchedulingIgnoredDuringExecutionItemNamespaceSelectorMatchExpressionsItem[] | undefined
  matchLabels?: Record<string, string> | undefined
}

export interface CDISpecInfraAffinityPodAntiAffinityRequiredDuringSchedulingIgnoredDuringExecutionItemNamespaceSelectorMatchExpressionsItem {
  key: string
  operator: string
  values?: string[] | undefined
}

export interface CDISpecInfraAffinityPodAntiAffinityRequiredDuringSchedulingIgnoredDuringExecutionItemLabelSelector {
  matchExpressions?: CDISpecInfraAffinityPodAntiAffinityRequiredDuringSchedulingIgnoredDuringExecutionItemLabelSelectorMatchExpressionsItem[] | undefined
  matchLabels?: Record<string, string> | undefined
}

export interface CDISpecInfraAffinityPodAntiAffinityRequiredDuringSchedulingIgnoredDuringExecutionItemLabelSelectorMatchExpressionsItem {
  key: string
  operator: string
  values?: string[] | undefined
}

export interface CDISpecInfraAffinityPodAntiAffinityPreferredDuringSchedulingIgnoredDuringExecutionItem {
  podAffinityTerm: CDISpecInfraAffinityPodAntiAffinityPreferredDuringSchedulingIgnoredDuringExecutionItemPodAffinityTerm
  weight: number
}

export interface CDISpecInfraAffinityPodAntiAffinityPreferredDuringSchedulingIgnoredDuringExecutionItemPodAffinityTerm {
  labelSelector?: CDISpecInfraAffinityPodAntiAffinityPreferredDuringSchedulingIgnoredDuringExecutionItemPodAffinityTermLabelSelector | undefined
  matchLabelKeys?: string[] | undefined
  mismatchLabelKeys?: string[] | undefined
  namespaceSelector?: CDISpecInfraAffinityPodAntiAffinityPreferredDuringSchedulingIgnoredDuringExecutionItemPodAffinityTermNamespaceSelector | undefined
  namespaces?: string[] | undefined
  topologyKey: string
}

export interface CDISpecInfraAffinityPodAntiAffinityPreferredDuringSchedulingIgnoredDuringExecutionItemPodAffinityTermNamespaceSelector {
  matchExpressions?: CDISpecInfraAffinityPodAntiAffinityPreferredDuringSchedulingIgnoredDuringExecutionItemPodAffinityTermNamespaceSelectorMatchExpressionsItem[] | undefined
  matchLabels?: Record<string, string> | undefined
}

export interface CDISpecInfraAffinityPodAntiAffinityPreferredDuringSchedulingIgnoredDuringExecutionItemPodAffinityTermNamespaceSelectorMatchExpressionsItem {
  key: string
  operator: string
  values?: string[] | undefined
}

export interface CDISpecInfraAffinityPodAntiAffinityPreferredDuringSchedulingIgnoredDuringExecutionItemPodAffinityTermLabelSelector {
  matchExpressions?: CDISpecInfraAffinityPodAntiAffinityPreferredDuringSchedulingIgnoredDuringExecutionItemPodAffinityTermLabelSelectorMatchExpressionsItem[] | undefined
  matchLabels?: Record<string, string> | undefined
}

export interface CDISpecInfraAffinityPodAntiAffinityPreferredDuringSchedulingIgnoredDuringExecutionItemPodAffinityTermLabelSelectorMatchExpressionsItem {
  key: string
  operator: string
  values?: string[] | undefined
}

export interface CDISpecInfraAffinityPodAffinity {
  preferredDuringSchedulingIgnoredDuringExecution?: CDISpecInfraAffinityPodAffinityPreferredDuringSchedulingIgnoredDuringExecutionItem[] | undefined
  requiredDuringSchedulingIgnoredDuringExecution?: CDISpecInfraAffinityPodAffinityRequiredDuringSchedulingIgnoredDuringExecutionItem[] | undefined
}

export interface CDISpecInfraAffinityPodAffinityRequiredDuringSchedulingIgnoredDuringExecutionItem {
  labelSelector?: CDISpecInfraAffinityPodAffinityRequiredDuringSchedulingIgnoredDuringExecutionItemLabelSelector | undefined
  matchLabelKeys?: string[] | undefined
  mismatchLabelKeys?: string[] | undefined
  namespaceSelector?: CDISpecInfraAffinityPodAffinityRequiredDuringSchedulingIgnoredDuringExecutionItemNamespaceSelector | undefined
  namespaces?: string[] | undefined
  topologyKey: string
}

export interface CDISpecInfraAffinityPodAffinityRequiredDuringSchedulingIgnoredDuringExecutionItemNamespaceSelector {
  matchExpressions?: CDISpecInfraAffinityPodAffinityRequiredDuringSchedulingIgnoredDuringExecutionItemNamespaceSelectorMatchExpressionsItem[] | undefined
  matchLabels?: Record<string, string> | undefined
}

export interface CDISpecInfraAffinityPodAffinityRequiredDuringSchedulingIgnoredDuringExecutionItemNamespaceSelectorMatchExpressionsItem {
  key: string
  operator: string
  values?: string[] | undefined
}

export interface CDISpecInfraAffinityPodAffinityRequiredDuringSchedulingIgnoredDuringExecutionItemLabelSelector {
  matchExpressions?: CDISpecInfraAffinityPodAffinityRequiredDuringSchedulingIgnoredDuringExecutionItemLabelSelectorMatchExpressionsItem[] | undefined
  matchLabels?: Record<string, string> | undefined
}

export interface CDISpecInfraAffinityPodAffinityRequiredDuringSchedulingIgnoredDuringExecutionItemLabelSelectorMatchExpressionsItem {
  key: string
  operator: string
  values?: string[] | undefined
}

export interface CDISpecInfraAffinityPodAffinityPreferredDuringSchedulingIgnoredDuringExecutionItem {
  podAffinityTerm: CDISpecInfraAffinityPodAffinityPreferredDuringSchedulingIgnoredDuringExecutionItemPodAffinityTerm
  weight: number
}

export interface CDISpecInfraAffinityPodAffinityPreferredDuringSchedulingIgnoredDuringExecutionItemPodAffinityTerm {
  labelSelector?: CDISpecInfraAffinityPodAffinityPreferredDuringSchedulingIgnoredDuringExecutionItemPodAffinityTermLabelSelector | undefined
  matchLabelKeys?: string[] | undefined
  mismatchLabelKeys?: string[] | undefined
  namespaceSelector?: CDISpecInfraAffinityPodAffinityPreferredDuringSchedulingIgnoredDuringExecutionItemPodAffinityTermNamespaceSelector | undefined
  namespaces?: string[] | undefined
  topologyKey: string
}

export interface CDISpecInfraAffinityPodAffinityPreferredDuringSchedulingIgnoredDuringExecutionItemPodAffinityTermNamespaceSelector {
  matchExpressions?: CDISpecInfraAffinityPodAffinityPreferredDuringSchedulingIgnoredDuringExecutionItemPodAffinityTermNamespaceSelectorMatchExpressionsItem[] | undefined
  matchLabels?: Record<string, string> | undefined
}

export interface CDISpecInfraAffinityPodAffinityPreferredDuringSchedulingIgnoredDuringExecutionItemPodAffinityTermNamespaceSelectorMatchExpressionsItem {
  key: string
  operator: string
  values?: string[] | undefined
}

export interface CDISpecInfraAffinityPodAffinityPreferredDuringSchedulingIgnoredDuringExecutionItemPodAffinityTermLabelSelector {
  matchExpressions?: CDISpecInfraAffinityPodAffinityPreferredDuringSchedulingIgnoredDuringExecutionItemPodAffinityTermLabelSelectorMatchExpressionsItem[] | undefined
  matchLabels?: Record<string, string> | undefined
}

export interface CDISpecInfraAffinityPodAffinityPreferredDuringSchedulingIgnoredDuringExecutionItemPodAffinityTermLabelSelectorMatchExpressionsItem {
  key: string
  operator: string
  values?: string[] | undefined
}

export interface CDISpecInfraAffinityNodeAffinity {
  preferredDuringSchedulingIgnoredDuringExecution?: CDISpecInfraAffinityNodeAffinityPreferredDuringSchedulingIgnoredDuringExecutionItem[] | undefined
  requiredDuringSchedulingIgnoredDuringExecution?: CDISpecInfraAffinityNodeAffinityRequiredDuringSchedulingIgnoredDuringExecution | undefined
}

export interface CDISpecInfraAffinityNodeAffinityRequiredDuringSchedulingIgnoredDuringExecution {
  nodeSelectorTerms: CDISpecInfraAffinityNodeAffinityRequiredDuringSchedulingIgnoredDuringExecutionNodeSelectorTermsItem[]
}

export interface CDISpecInfraAffinityNodeAffinityRequiredDuringSchedulingIgnoredDuringExecutionNodeSelectorTermsItem {
  matchExpressions?: CDISpecInfraAffinityNodeAffinityRequiredDuringSchedulingIgnoredDuringExecutionNodeSelectorTermsItemMatchExpressionsItem[] | undefined
  matchFields?: CDISpecInfraAffinityNodeAffinityRequiredDuringSchedulingIgnoredDuringExecutionNodeSelectorTermsItemMatchFieldsItem[] | undefined
}

export interface CDISpecInfraAffinityNodeAffinityRequiredDuringSchedulingIgnoredDuringExecutionNodeSelectorTermsItemMatchFieldsItem {
  key: string
  operator: string
  values?: string[] | undefined
}

export interface CDISpecInfraAffinityNodeAffinityRequiredDuringSchedulingIgnoredDuringExecutionNodeSelectorTermsItemMatchExpressionsItem {
  key: string
  operator: string
  values?: string[] | undefined
}

export interface CDISpecInfraAffinityNodeAffinityPreferredDuringSchedulingIgnoredDuringExecutionItem {
  preference: CDISpecInfraAffinityNodeAffinityPreferredDuringSchedulingIgnoredDuringExecutionItemPreference
  weight: number
}

export interface CDISpecInfraAffinityNodeAffinityPreferredDuringSchedulingIgnoredDuringExecutionItemPreference {
  matchExpressions?: CDISpecInfraAffinityNodeAffinityPreferredDuringSchedulingIgnoredDuringExecutionItemPreferenceMatchExpressionsItem[] | undefined
  matchFields?: CDISpecInfraAffinityNodeAffinityPreferredDuringSchedulingIgnoredDuringExecutionItemPreferenceMatchFieldsItem[] | undefined
}

export interface CDISpecInfraAffinityNodeAffinityPreferredDuringSchedulingIgnoredDuringExecutionItemPreferenceMatchFieldsItem {
  key: string
  operator: string
  values?: string[] | undefined
}

export interface CDISpecInfraAffinityNodeAffinityPreferredDuringSchedulingIgnoredDuringExecutionItemPreferenceMatchExpressionsItem {
  key: string
  operator: string
  values?: string[] | undefined
}

export interface CDISpecCustomizeComponents {
  flags?: CDISpecCustomizeComponentsFlags | undefined
  patches?: CDISpecCustomizeComponentsPatchesItem[] | undefined
}

export interface CDISpecCustomizeComponentsPatchesItem {
  patch: string
  resourceName: string
  resourceType: string
  type: string
}

export interface CDISpecCustomizeComponentsFlags {
  api?: Record<string, string> | undefined
  controller?: Record<string, string> | undefined
  uploadProxy?: Record<string, string> | undefined
}

export interface CDISpecConfig {
  dataVolumeTTLSeconds?: number | undefined
  featureGates?: string[] | undefined
  filesystemOverhead?: CDISpecConfigFilesystemOverhead | undefined
  imagePullSecrets?: CDISpecConfigImagePullSecretsItem[] | undefined
  importProxy?: CDISpecConfigImportProxy | undefined
  insecureRegistries?: string[] | undefined
  logVerbosity?: number | undefined
  podResourceRequirements?: CDISpecConfigPodResourceRequirements | undefined
  preallocation?: boolean | undefined
  scratchSpaceStorageClass?: string | undefined
  tlsSecurityProfile?: CDISpecConfigTlsSecurityProfile | undefined
  uploadProxyURLOverride?: string | undefined
  webhookPvcRendering?: string | undefined
}

export interface CDISpecConfigTlsSecurityProfile {
  custom?: CDISpecConfigTlsSecurityProfileCustom | null | undefined
  intermediate?: Record<string, unknown> | null | undefined
  modern?: Record<string, unknown> | null | undefined
  old?: Record<string, unknown> | null | undefined
  type?: "Old" | "Intermediate" | "Modern" | "Custom" | undefined
}

export interface CDISpecConfigTlsSecurityProfileCustom {
  ciphers: string[]
  minTLSVersion: "VersionTLS10" | "VersionTLS11" | "VersionTLS12" | "VersionTLS13"
}

export interface CDISpecConfigPodResourceRequirements {
  claims?: CDISpecConfigPodResourceRequirementsClaimsItem[] | undefined
  limits?: Record<string, number | string> | undefined
  requests?: Record<string, number | string> | undefined
}

export interface CDISpecConfigPodResourceRequirementsClaimsItem {
  name: string
  request?: string | undefined
}

export interface CDISpecConfigImportProxy {
  HTTPProxy?: string | undefined
  HTTPSProxy?: string | undefined
  noProxy?: string | undefined
  trustedCAProxy?: string | undefined
}

export interface CDISpecConfigImagePullSecretsItem {
  name?: string | undefined
}

export interface CDISpecConfigFilesystemOverhead {
  global?: string | undefined
  storageClass?: Record<string, string> | undefined
}

export interface CDISpecCertConfig {
  ca?: CDISpecCertConfigCa | undefined
  client?: CDISpecCertConfigClient | undefined
  server?: CDISpecCertConfigServer | undefined
}

export interface CDISpecCertConfigServer {
  duration?: string | undefined
  renewBefore?: string | undefined
}

export interface CDISpecCertConfigClient {
  duration?: string | undefined
  renewBefore?: string | undefined
}

export interface CDISpecCertConfigCa {
  duration?: string | undefined
  renewBefore?: string | undefined
}
