{{- define "fsn.name" -}}
{{- printf "%s-%s" .root.Release.Name .part | trunc 52 | trimSuffix "-" -}}
{{- end -}}

{{- define "fsn.labels" -}}
app.kubernetes.io/name: fsn
app.kubernetes.io/instance: {{ .root.Release.Name }}
app.kubernetes.io/component: {{ .part }}
{{- end -}}

{{- define "fsn.metadata" -}}
name: {{ include "fsn.name" . }}
namespace: {{ .root.Release.Namespace }}
labels:
  {{- include "fsn.labels" . | nindent 2 }}
  app.kubernetes.io/version: {{ .root.Chart.AppVersion | quote }}
  app.kubernetes.io/managed-by: {{ .root.Release.Service }}
{{- end -}}

{{/* Settings of the program, by table, as environment variables. */}}
{{- define "fsn.settings" -}}
{{- range $table, $keys := . }}
{{- range $key, $value := $keys }}
- name: FSN_{{ upper $table }}_{{ upper $key }}
  value: {{ $value | toString | quote }}
{{- end }}
{{- end }}
{{- end -}}

{{/* What a program of this chart may: nothing but write to its volume. */}}
{{- define "fsn.podSecurity" -}}
runAsNonRoot: true
runAsUser: 10001
runAsGroup: 10001
fsGroup: 10001
fsGroupChangePolicy: OnRootMismatch
seccompProfile: {type: RuntimeDefault}
{{- end -}}

{{- define "fsn.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end -}}

{{- define "fsn.spread" -}}
topologySpreadConstraints:
  - maxSkew: 1
    topologyKey: kubernetes.io/hostname
    whenUnsatisfiable: ScheduleAnyway
    labelSelector:
      matchLabels:
        {{- include "fsn.labels" . | nindent 8 }}
{{- end -}}
