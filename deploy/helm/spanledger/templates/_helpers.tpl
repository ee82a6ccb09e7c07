{{- define "spanledger.name" -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- end }}

{{- define "spanledger.selector" -}}
app.kubernetes.io/name: spanledger
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "spanledger.labels" -}}
{{ include "spanledger.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ .Chart.Name }}-{{ .Chart.Version }}
{{- end }}

{{- define "spanledger.image" -}}
{{ .Values.image.repository }}:{{ .Values.image.tag | default .Chart.AppVersion }}
{{- end }}

{{/* What differs from the default configuration: where it listens, where spans go, what is on disk. */}}
{{- define "spanledger.config" -}}
{{- $shared := ne .Values.mode "sidecar" }}
{{- $durable := ne .Values.mode "deployment" }}
{{- $config := dict
  "exporters" (dict "prometheus" (dict "endpoint" "0.0.0.0:9464"))
  "extensions" (dict "health_check" (dict "endpoint" "0.0.0.0:13133"))
}}
{{- if $shared }}
{{- $_ := set $config "receivers" (dict "otlp" (dict "protocols" (dict "grpc" (dict "endpoint" "0.0.0.0:4317") "http" (dict "endpoint" "0.0.0.0:4318")))) }}
{{- end }}
{{- if $durable }}
{{- $_ := set $config.extensions "file_storage" (dict "directory" "/data/queues") }}
{{- $_ := set $config "connectors" (dict "trajectory" (dict "storage" "/data")) }}
{{- $_ := set $config "service" (dict "extensions" (list "health_check" "zpages" "file_storage")) }}
{{- end }}
{{- with .Values.backend }}
{{- if .endpoint }}
{{- $backend := dict "endpoint" .endpoint "tls" (dict "insecure" .insecure) }}
{{- if $durable }}
{{- $_ := set $backend "sending_queue" (dict "storage" "file_storage") }}
{{- end }}
{{- $_ := set $config.exporters "otlp/backend" $backend }}
{{- $traces := dict "receivers" (list "otlp") "processors" (list "memory_limiter" "genai_normalizer" "genai_pricing") "exporters" (list "genai_metrics" "trajectory" "otlp/backend") }}
{{- $_ := set $config "service" (mustMergeOverwrite (get $config "service" | default dict) (dict "pipelines" (dict "traces" $traces))) }}
{{- end }}
{{- end }}
{{- mustMergeOverwrite $config (deepCopy .Values.config) | toYaml }}
{{- end }}

{{/* The container, also for pods of other charts: a native sidecar goes among their initContainers. */}}
{{- define "spanledger.container" -}}
name: spanledger
image: {{ include "spanledger.image" . | quote }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{- if eq .Values.mode "sidecar" }}
restartPolicy: Always
{{- end }}
args: [run, --config, "default:", --config, /etc/spanledger/config.yaml]
ports:
  {{- if ne .Values.mode "sidecar" }}
  - {name: otlp-grpc, containerPort: 4317}
  - {name: otlp-http, containerPort: 4318}
  {{- end }}
  - {name: metrics, containerPort: 9464}
  - {name: health, containerPort: 13133}
{{- with .Values.extraEnv }}
env:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.extraEnvFrom }}
envFrom:
  {{- toYaml . | nindent 2 }}
{{- end }}
startupProbe: {httpGet: {path: /, port: health}, periodSeconds: 1, failureThreshold: 60}
readinessProbe: {httpGet: {path: /, port: health}, periodSeconds: 5, timeoutSeconds: 3}
livenessProbe: {httpGet: {path: /, port: health}, periodSeconds: 30, timeoutSeconds: 5, failureThreshold: 4}
resources:
  {{- toYaml .Values.resources | nindent 2 }}
securityContext:
  allowPrivilegeEscalation: false
  readOnlyRootFilesystem: true
  runAsNonRoot: true
  capabilities: {drop: [ALL]}
volumeMounts:
  - {name: spanledger-config, mountPath: /etc/spanledger, readOnly: true}
  - {name: spanledger-data, mountPath: /data}
  - {name: spanledger-tmp, mountPath: /tmp}
  {{- with .Values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}

{{- define "spanledger.volumes" -}}
- {name: spanledger-config, configMap: {name: {{ include "spanledger.name" . }}}}
{{- if ne .Values.mode "statefulset" }}
- {name: spanledger-data, emptyDir: {sizeLimit: {{ .Values.persistence.size }}}}
{{- end }}
- {name: spanledger-tmp, emptyDir: {sizeLimit: 256Mi}}
{{- with .Values.extraVolumes }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- define "spanledger.podSecurityContext" -}}
runAsNonRoot: true
runAsUser: 65532
runAsGroup: 65532
fsGroup: 65532
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end }}

{{/* The pod of the modes that have one of their own. */}}
{{- define "spanledger.pod" -}}
metadata:
  labels:
    {{- include "spanledger.selector" . | nindent 4 }}
    {{- with .Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    checksum/config: {{ include "spanledger.config" . | sha256sum }}
    {{- with .Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "spanledger.name" . }}
  automountServiceAccountToken: false
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  terminationGracePeriodSeconds: {{ .Values.terminationGracePeriodSeconds }}
  securityContext:
    {{- include "spanledger.podSecurityContext" . | nindent 4 }}
  containers:
    - {{- include "spanledger.container" . | nindent 6 }}
  {{- with .Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  affinity:
    {{- if .Values.affinity }}
    {{- toYaml .Values.affinity | nindent 4 }}
    {{- else }}
    podAntiAffinity:
      preferredDuringSchedulingIgnoredDuringExecution:
        - weight: 100
          podAffinityTerm:
            topologyKey: kubernetes.io/hostname
            labelSelector:
              matchLabels:
                {{- include "spanledger.selector" . | nindent 16 }}
    {{- end }}
  {{- with .Values.topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  volumes:
    {{- include "spanledger.volumes" . | nindent 4 }}
{{- end }}

{{- define "spanledger.metadata" -}}
metadata:
  name: {{ include "spanledger.name" . }}
  labels:
    {{- include "spanledger.labels" . | nindent 4 }}
{{- end }}

{{/* Whether there may be more than one pod. */}}
{{- define "spanledger.several" -}}
{{- if and (ne .Values.mode "sidecar") (or .Values.autoscaling.enabled (gt (int .Values.replicas) 1)) }}yes{{ end }}
{{- end }}
