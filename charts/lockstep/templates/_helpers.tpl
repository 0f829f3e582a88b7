{{- define "lockstep.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 50 | trimSuffix "-" }}
{{- end }}

{{/* A release that already has the chart's name in its own isn't called twice. */}}
{{- define "lockstep.fullname" -}}
{{- $name := include "lockstep.name" . }}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- else if contains $name .Release.Name }}
{{- .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "lockstep.selector" -}}
app.kubernetes.io/name: {{ include "lockstep.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "lockstep.labels" -}}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{ include "lockstep.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: lockstep
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "lockstep.serviceAccount" -}}
{{- default (include "lockstep.fullname" .) .Values.serviceAccount.name }}
{{- end }}

{{- define "lockstep.image" -}}
{{- with .Values.image -}}
{{- if .digest }}{{ .repository }}@{{ .digest }}{{ else }}{{ .repository }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end }}
{{- end }}

{{/* What Pod Security "restricted" asks of a container, and a root that can't be written. */}}
{{- define "lockstep.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities:
  drop: [ALL]
{{- end }}

{{- define "lockstep.podSecurity" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
seccompProfile:
  type: RuntimeDefault
{{- end }}

{{/* The rights in each namespace that is worked in. Each line is used: what for stands beside it. */}}
{{- define "lockstep.rules" -}}
# Resources are watched; their status is written as a whole.
- apiGroups: [lockstep.dev]
  resources: [coordinatedworkloads]
  verbs: [list, watch]
- apiGroups: [lockstep.dev]
  resources: [coordinatedworkloads/status]
  verbs: [update]
# Where OwnerReferencesPermissionEnforcement is on, owner references that block deletion need this.
- apiGroups: [lockstep.dev]
  resources: [coordinatedworkloads/finalizers]
  verbs: [update]
# Children: watched, read again before a write, made, applied; all but the Deployment are deleted when their section of
# the spec goes.
- apiGroups: [apps]
  resources: [deployments]
  verbs: [get, list, watch, create, patch]
- apiGroups: [autoscaling]
  resources: [horizontalpodautoscalers]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [""]
  resources: [services]
  verbs: [get, list, watch, create, patch, delete]
# Whose the locks are.
- apiGroups: [""]
  resources: [pods]
  verbs: [list, watch]
# Credentials and authorities of Redis: those that a resource names, one by one.
- apiGroups: [""]
  resources: [secrets, configmaps]
  verbs: [get]
  {{- with .Values.rbac.secretNames }}
  resourceNames:
    {{- toYaml . | nindent 4 }}
  {{- end }}
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create]
{{- end }}
