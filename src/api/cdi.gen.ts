// Made from crds/cdis.cdi.kubevirt.io.yaml by `npm run generate`. Do not edit.
import type { KubeObject } from '../kube/object.ts'

/** The installation of this service in the cluster; there is one. */
export interface CDI extends KubeObject {
  /** How the service is installed and set up. */
  spec: CDISpec
  /** CDIStatus defines the status of the installation: its phase, versions and conditions. */
  status?: CDIStatus | undefined
}

/** CDIStatus defines the status of the installation: its phase, versions and conditions. */
export interface CDIStatus {
  /** What is true of this object at the moment, each with its reason. */
  conditions?: CDIStatusConditionsItem[] | undefined
  /** The version that runs. */
  observedVersion?: string | undefined
  /** The version of the operator. */
  operatorVersion?: string | undefined
  /** Deploying, Deployed, Upgrading, Deleting, Deleted or Error. */
  phase?: string | undefined
  /** The desired version of the resource: the one that the operator installs. */
  targetVersion?: string | undefined
}

export interface CDIStatusConditionsItem {
  /** When status, reason or message last changed. */
  lastHeartbeatTime?: string | undefined
  /** When the status last changed. */
  lastTransitionTime?: string | undefined
  /** A sentence for people: why the status is as it is. */
  message?: string | undefined
  /** One word for programs: why the status is as it is. */
  reason?: string | undefined
  /** True, False or Unknown. */
  status: string
  /** Name of the condition. */
  type: string
}

/** How the service is installed and set up. */
export interface CDISpec {
  /** Lifetimes of the certificates that the service issues to itself. */
  certConfig?: CDISpecCertConfig | undefined
  /** How all volumes are cloned: copy, snapshot or csi-clone. Left out: as their StorageProfiles say. */
  cloneStrategyOverride?: "copy" | "snapshot" | "csi-clone" | undefined
  /** Settings; they are copied to the CDIConfig object. */
  config?: CDISpecConfig | undefined
  /** Changes to what the operator installs. */
  customizeComponents?: CDISpecCustomizeComponents | undefined
  /** Pull policy of all images of the service: Always, IfNotPresent or Never. */
  imagePullPolicy?: "Always" | "IfNotPresent" | "Never" | undefined
  /** Where the Deployments of the service run, and how many of each. */
  infra?: CDISpecInfra | undefined
  /** PriorityClass of the pods of the service. Left out: kubevirt-cluster-critical, where it exists. */
  priorityClass?: string | undefined
  /** RemoveWorkloads (the default) or BlockUninstallIfWorkloadsExist: whether the service may be removed while there are DataVolumes. */
  uninstallStrategy?: "RemoveWorkloads" | "BlockUninstallIfWorkloadsExist" | undefined
  /** Where worker pods run. */
  workload?: CDISpecWorkload | undefined
}

/** Where worker pods run. */
export interface CDISpecWorkload {
  /** Affinity, as in a Pod. */
  affinity?: CDISpecWorkloadAffinity | undefined
  /** Labels that a node must have. */
  nodeSelector?: Record<string, string> | undefined
  /** Tolerations, as in a Pod. */
  tolerations?: CDISpecWorkloadTolerationsItem[] | undefined
}

export interface CDISpecWorkloadTolerationsItem {
  effect?: string | undefined
  key?: string | undefined
  operator?: string | undefined
  tolerationSeconds?: number | undefined
  value?: string | undefined
}

/** Affinity, as in a Pod. */
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
  /** Key of the label. */
  key: string
  /** In, NotIn, Exists or DoesNotExist. */
  operator: string
  /** Values for In and NotIn. */
  values?: string[] | undefined
}

export interface CDISpecWorkloadAffinityPodAntiAffinityRequiredDuringSchedulingIgnoredDuringExecutionItemLabelSelector {
  matchExpressions?: CDISpecWorkloadAffinityPodAntiAffinityRequiredDuringSchedulingIgnoredDuringExecutionItemLabelSelectorMatchExpressionsItem[] | undefined
  matchLabels?: Record<string, string> | undefined
}

export interface CDISpecWorkloadAffinityPodAntiAffinityRequiredDuringSchedulingIgnoredDuringExecutionItemLabelSelectorMatchExpressionsItem {
  /** Key of the label. */
  key: string
  /** In, NotIn, Exists or DoesNotExist. */
  operator: string
  /** Values for In and NotIn. */
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
  /** Key of the label. */
  key: string
  /** In, NotIn, Exists or DoesNotExist. */
  operator: string
  /** Values for In and NotIn. */
  values?: string[] | undefined
}

export interface CDISpecWorkloadAffinityPodAntiAffinityPreferredDuringSchedulingIgnoredDuringExecutionItemPodAffinityTermLabelSelector {
  matchExpressions?: CDISpecWorkloadAffinityPodAntiAffinityPreferredDuringSchedulingIgnoredDuringExecutionItemPodAffinityTermLabelSelectorMatchExpressionsItem[] | undefined
  matchLabels?: Record<string, string> | undefined
}

export interface CDISpecWorkloadAffinityPodAntiAffinityPreferredDuringSchedulingIgnoredDuringExecutionItemPodAffinityTermLabelSelectorMatchExpressionsItem {
  /** Key of the label. */
  key: string
  /** In, NotIn, Exists or DoesNotExist. */
  operator: string
  /** Values for In and NotIn. */
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
  /** Key of the label. */
  key: string
  /** In, NotIn, Exists or DoesNotExist. */
  operator: string
  /** Values for In and NotIn. */
  values?: string[] | undefined
}

export interface CDISpecWorkloadAffinityPodAffinityRequiredDuringSchedulingIgnoredDuringExecutionItemLabelSelector {
  matchExpressions?: CDISpecWorkloadAffinityPodAffinityRequiredDuringSchedulingIgnoredDuringExecutionItemLabelSelectorMatchExpressionsItem[] | undefined
  matchLabels?: Record<string, string> | undefined
}

export interface CDISpecWorkloadAffinityPodAffinityRequiredDuringSchedulingIgnoredDuringExecutionItemLabelSelectorMatchExpressionsItem {
  /** Key of the label. */
  key: string
  /** In, NotIn, Exists or DoesNotExist. */
  operator: string
  /** Values for In and NotIn. */
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
  /** Key of the label. */
  key: string
  /** In, NotIn, Exists or DoesNotExist. */
  operator: string
  /** Values for In and NotIn. */
  values?: string[] | undefined
}

export interface CDISpecWorkloadAffinityPodAffinityPreferredDuringSchedulingIgnoredDuringExecutionItemPodAffinityTermLabelSelector {
  matchExpressions?: CDISpecWorkloadAffinityPodAffinityPreferredDuringSchedulingIgnoredDuringExecutionItemPodAffinityTermLabelSelectorMatchExpressionsItem[] | undefined
  matchLabels?: Record<string, string> | undefined
}

export interface CDISpecWorkloadAffinityPodAffinityPreferredDuringSchedulingIgnoredDuringExecutionItemPodAffinityTermLabelSelectorMatchExpressionsItem {
  /** Key of the label. */
  key: string
  /** In, NotIn, Exists or DoesNotExist. */
  operator: string
  /** Values for In and NotIn. */
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
  /** Key of the label. */
  key: string
  /** In, NotIn, Exists or DoesNotExist. */
  operator: string
  /** Values for In and NotIn. */
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
  /** Key of the label. */
  key: string
  /** In, NotIn, Exists or DoesNotExist. */
  operator: string
  /** Values for In and NotIn. */
  values?: string[] | undefined
}

/** Where the Deployments of the service run, and how many of each. */
export interface CDISpecInfra {
  /** Affinity, as in a Pod. */
  affinity?: CDISpecInfraAffinity | undefined
  /** Number of API servers. */
  apiServerReplicas?: number | undefined
  /** Number of controllers; one is active at a time. */
  deploymentReplicas?: number | undefined
  /** Labels that a node must have. */
  nodeSelector?: Record<string, string> | undefined
  /** Tolerations, as in a Pod. */
  tolerations?: CDISpecInfraTolerationsItem[] | undefined
  /** Number of upload proxies. */
  uploadProxyReplicas?: number | undefined
}

export interface CDISpecInfraTolerationsItem {
  effect?: string | undefined
  key?: string | undefined
  operator?: string | undefined
  tolerationSeconds?: number | undefined
  value?: string | undefined
}

/** Affinity, as in a Pod. */
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
  /** Key of the label. */
  key: string
  /** In, NotIn, Exists or DoesNotExist. */
  operator: string
  /** Values for In and NotIn. */
  values?: string[] | undefined
}

export interface CDISpecInfraAffinityPodAntiAffinityRequiredDuringSchedulingIgnoredDuringExecutionItemLabelSelector {
  matchExpressions?: CDISpecInfraAffinityPodAntiAffinityRequiredDuringSchedulingIgnoredDuringExecutionItemLabelSelectorMatchExpressionsItem[] | undefined
  matchLabels?: Record<string, string> | undefined
}

export interface CDISpecInfraAffinityPodAntiAffinityRequiredDuringSchedulingIgnoredDuringExecutionItemLabelSelectorMatchExpressionsItem {
  /** Key of the label. */
  key: string
  /** In, NotIn, Exists or DoesNotExist. */
  operator: string
  /** Values for In and NotIn. */
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
  /** Key of the label. */
  key: string
  /** In, NotIn, Exists or DoesNotExist. */
  operator: string
  /** Values for In and NotIn. */
  values?: string[] | undefined
}

export interface CDISpecInfraAffinityPodAntiAffinityPreferredDuringSchedulingIgnoredDuringExecutionItemPodAffinityTermLabelSelector {
  matchExpressions?: CDISpecInfraAffinityPodAntiAffinityPreferredDuringSchedulingIgnoredDuringExecutionItemPodAffinityTermLabelSelectorMatchExpressionsItem[] | undefined
  matchLabels?: Record<string, string> | undefined
}

export interface CDISpecInfraAffinityPodAntiAffinityPreferredDuringSchedulingIgnoredDuringExecutionItemPodAffinityTermLabelSelectorMatchExpressionsItem {
  /** Key of the label. */
  key: string
  /** In, NotIn, Exists or DoesNotExist. */
  operator: string
  /** Values for In and NotIn. */
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
  /** Key of the label. */
  key: string
  /** In, NotIn, Exists or DoesNotExist. */
  operator: string
  /** Values for In and NotIn. */
  values?: string[] | undefined
}

export interface CDISpecInfraAffinityPodAffinityRequiredDuringSchedulingIgnoredDuringExecutionItemLabelSelector {
  matchExpressions?: CDISpecInfraAffinityPodAffinityRequiredDuringSchedulingIgnoredDuringExecutionItemLabelSelectorMatchExpressionsItem[] | undefined
  matchLabels?: Record<string, string> | undefined
}

export interface CDISpecInfraAffinityPodAffinityRequiredDuringSchedulingIgnoredDuringExecutionItemLabelSelectorMatchExpressionsItem {
  /** Key of the label. */
  key: string
  /** In, NotIn, Exists or DoesNotExist. */
  operator: string
  /** Values for In and NotIn. */
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
  /** Key of the label. */
  key: string
  /** In, NotIn, Exists or DoesNotExist. */
  operator: string
  /** Values for In and NotIn. */
  values?: string[] | undefined
}

export interface CDISpecInfraAffinityPodAffinityPreferredDuringSchedulingIgnoredDuringExecutionItemPodAffinityTermLabelSelector {
  matchExpressions?: CDISpecInfraAffinityPodAffinityPreferredDuringSchedulingIgnoredDuringExecutionItemPodAffinityTermLabelSelectorMatchExpressionsItem[] | undefined
  matchLabels?: Record<string, string> | undefined
}

export interface CDISpecInfraAffinityPodAffinityPreferredDuringSchedulingIgnoredDuringExecutionItemPodAffinityTermLabelSelectorMatchExpressionsItem {
  /** Key of the label. */
  key: string
  /** In, NotIn, Exists or DoesNotExist. */
  operator: string
  /** Values for In and NotIn. */
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
  /** Key of the label. */
  key: string
  /** In, NotIn, Exists or DoesNotExist. */
  operator: string
  /** Values for In and NotIn. */
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
  /** Key of the label. */
  key: string
  /** In, NotIn, Exists or DoesNotExist. */
  operator: string
  /** Values for In and NotIn. */
  values?: string[] | undefined
}

/** Changes to what the operator installs. */
export interface CDISpecCustomizeComponents {
  /** Command-line flags of the programs, by name without the dash. */
  flags?: CDISpecCustomizeComponentsFlags | undefined
  /** Patches of installed objects. */
  patches?: CDISpecCustomizeComponentsPatchesItem[] | undefined
}

export interface CDISpecCustomizeComponentsPatchesItem {
  /** The patch, as text. */
  patch: string
  /** Name of the objects to patch; * for all. */
  resourceName: string
  /** Kind of the objects to patch, e.g. Deployment; * for all. */
  resourceType: string
  /** Kind of patch: json, merge or strategic. */
  type: string
}

/** Command-line flags of the programs, by name without the dash. */
export interface CDISpecCustomizeComponentsFlags {
  /** Of cdi-apiserver. */
  api?: Record<string, string> | undefined
  /** Of cdi-deployment. */
  controller?: Record<string, string> | undefined
  /** Of cdi-uploadproxy. */
  uploadProxy?: Record<string, string> | undefined
}

/** Settings; they are copied to the CDIConfig object. */
export interface CDISpecConfig {
  /** Has no effect: DataVolumes are never deleted on their own. */
  dataVolumeTTLSeconds?: number | undefined
  /** Behaviour to switch on: HonorWaitForFirstConsumer, DataVolumeClaimAdoption. Unknown names are ignored. */
  featureGates?: string[] | undefined
  /** Share of a volume that its file system takes; claims of spec.storage are made larger by it. */
  filesystemOverhead?: CDISpecConfigFilesystemOverhead | undefined
  /** Secrets that the images of the service and of worker pods are pulled with. */
  imagePullSecrets?: CDISpecConfigImagePullSecretsItem[] | undefined
  /** Proxy that imports use. */
  importProxy?: CDISpecConfigImportProxy | undefined
  /** Registries as host[:port] whose certificates are not verified. */
  insecureRegistries?: string[] | undefined
  /** How much the service logs; default 1. */
  logVerbosity?: number | undefined
  /** CPU and memory of every worker container. What is left out keeps its default (limits 750m and 600M, requests 100m and 60M). */
  podResourceRequirements?: CDISpecConfigPodResourceRequirements | undefined
  /** Preallocate disks when a DataVolume does not say. */
  preallocation?: boolean | undefined
  /** StorageClass of scratch volumes. Left out, or the name of no class: that of the volume to be filled. */
  scratchSpaceStorageClass?: string | undefined
  /** Which TLS versions and ciphers the servers of this service accept. */
  tlsSecurityProfile?: CDISpecConfigTlsSecurityProfile | undefined
  /** Address of the upload proxy that clients shall use. */
  uploadProxyURLOverride?: string | undefined
  /** Enabled (the default) or Disabled: whether claims labelled cdi.kubevirt.io/applyStorageProfile are completed from the StorageProfile. */
  webhookPvcRendering?: string | undefined
}

/** Which TLS versions and ciphers the servers of this service accept. */
export interface CDISpecConfigTlsSecurityProfile {
  /** Own choice, for type Custom. */
  custom?: CDISpecConfigTlsSecurityProfileCustom | null | undefined
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
export interface CDISpecConfigTlsSecurityProfileCustom {
  /** Cipher suites by their OpenSSL names. */
  ciphers: string[]
  /** Oldest TLS version that is accepted. */
  minTLSVersion: "VersionTLS10" | "VersionTLS11" | "VersionTLS12" | "VersionTLS13"
}

/** CPU and memory of every worker container. What is left out keeps its default (limits 750m and 600M, requests 100m and 60M). */
export interface CDISpecConfigPodResourceRequirements {
  /** Resource claims, as in a Pod. */
  claims?: CDISpecConfigPodResourceRequirementsClaimsItem[] | undefined
  /** Most that a worker may use. */
  limits?: Record<string, number | string> | undefined
  /** What a worker is guaranteed. */
  requests?: Record<string, number | string> | undefined
}

export interface CDISpecConfigPodResourceRequirementsClaimsItem {
  /** Name of the claim in the spec of the pod. */
  name: string
  /** Name of a request of the claim. */
  request?: string | undefined
}

/** Proxy that imports use. */
export interface CDISpecConfigImportProxy {
  /** URL of the proxy for http, e.g. http://user:password@proxy:3128. */
  HTTPProxy?: string | undefined
  /** URL of the proxy for https. */
  HTTPSProxy?: string | undefined
  /** What is reached without the proxy: host names, domain suffixes, addresses and CIDR ranges, separated by commas; * for everything. */
  noProxy?: string | undefined
  /** ConfigMap in the namespace of the service with PEM certificates of further authorities that proxies and servers are trusted by. */
  trustedCAProxy?: string | undefined
}

export interface CDISpecConfigImagePullSecretsItem {
  /** Name of the Secret. */
  name?: string | undefined
}

/** Share of a volume that its file system takes; claims of spec.storage are made larger by it. */
export interface CDISpecConfigFilesystemOverhead {
  /** Share for all classes without a value of their own, from 0 to 1 with up to three decimals. Default 0.06. */
  global?: string | undefined
  /** Share by name of the StorageClass. */
  storageClass?: Record<string, string> | undefined
}

/** Lifetimes of the certificates that the service issues to itself. */
export interface CDISpecCertConfig {
  /** Certificates of the authorities; 48h, renewed 24h before their end. */
  ca?: CDISpecCertConfigCa | undefined
  /** Certificates of clients; 24h, renewed 12h before their end. */
  client?: CDISpecCertConfigClient | undefined
  /** Certificates of servers; 24h, renewed 12h before their end. */
  server?: CDISpecCertConfigServer | undefined
}

/** Certificates of servers; 24h, renewed 12h before their end. */
export interface CDISpecCertConfigServer {
  /** Lifetime, e.g. 24h. */
  duration?: string | undefined
  /** How long before its end a certificate is renewed. */
  renewBefore?: string | undefined
}

/** Certificates of clients; 24h, renewed 12h before their end. */
export interface CDISpecCertConfigClient {
  /** Lifetime, e.g. 24h. */
  duration?: string | undefined
  /** How long before its end a certificate is renewed. */
  renewBefore?: string | undefined
}

/** Certificates of the authorities; 48h, renewed 24h before their end. */
export interface CDISpecCertConfigCa {
  /** Lifetime, e.g. 48h. */
  duration?: string | undefined
  /** How long before its end a certificate is renewed. */
  renewBefore?: string | undefined
}
