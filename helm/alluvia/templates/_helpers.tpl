{{- define "alluvia.name" -}}
{{- default .Chart.Name .Values.nameOverride | trunc 63 | trimSuffix "-" -}}
{{- end -}}

{{- define "alluvia.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 52 | trimSuffix "-" -}}
{{- else if contains (include "alluvia.name" .) .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "alluvia.name" .) | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "alluvia.selectorLabels" -}}
app.kubernetes.io/name: {{ include "alluvia.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "alluvia.labels" -}}
{{ include "alluvia.selectorLabels" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end -}}

{{- define "alluvia.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "alluvia.fullname" .) .Values.serviceAccount.name -}}
{{- else -}}
{{- default "default" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "alluvia.image" -}}
{{- if .Values.image.digest -}}
{{ .Values.image.repository }}@{{ .Values.image.digest }}
{{- else -}}
{{ .Values.image.repository }}:{{ default .Chart.AppVersion .Values.image.tag }}
{{- end -}}
{{- end -}}

{{/* A memory quantity of Kubernetes in MiB. */}}
{{- define "alluvia.mebibytes" -}}
{{- $text := toString . -}}
{{- if hasSuffix "Gi" $text -}}{{ mulf (trimSuffix "Gi" $text | float64) 1024.0 | int }}
{{- else if hasSuffix "Mi" $text -}}{{ trimSuffix "Mi" $text | float64 | int }}
{{- else if hasSuffix "Ki" $text -}}{{ divf (trimSuffix "Ki" $text | float64) 1024.0 | int }}
{{- else if hasSuffix "G" $text -}}{{ divf (mulf (trimSuffix "G" $text | float64) 1000000000.0) 1048576.0 | int }}
{{- else if hasSuffix "M" $text -}}{{ divf (mulf (trimSuffix "M" $text | float64) 1000000.0) 1048576.0 | int }}
{{- else -}}{{ divf ($text | float64) 1048576.0 | int }}
{{- end -}}
{{- end -}}

{{/* What the buffers of one stream are sized for: its share of a part of the container's limit, not less than Alluvia's least. */}}
{{- define "alluvia.memoryLimit" -}}
{{- $limit := include "alluvia.mebibytes" .Values.resources.limits.memory | int -}}
{{- $streams := max 1 (len .Values.config.streams) -}}
{{- $share := div (div (mul $limit (int .Values.memoryLimitPercent)) 100) $streams -}}
{{- if lt (int $share) 32 -}}
{{- fail (printf "resources.limits.memory %s leaves %d MiB for the buffers of each of %d streams (memoryLimitPercent %d); Alluvia needs at least 32 MiB: raise one of them" (toString .Values.resources.limits.memory) (int $share) (int $streams) (int .Values.memoryLimitPercent)) -}}
{{- end -}}
{{- $share -}}MiB
{{- end -}}

{{/* Refuses values that contradict each other. */}}
{{- define "alluvia.check" -}}
{{- if not .Values.config.streams -}}
{{- fail "config.streams is empty: give at least one stream, as in a stream file (docs/reference/stream-file.md)" -}}
{{- end -}}
{{- if .Values.keda.enabled -}}
{{- range $name := list "bootstrapServers" "consumerGroup" "topic" -}}
{{- if not (index $.Values.keda $name) -}}
{{- fail (printf "keda.enabled needs keda.%s: KEDA asks for the lag of that group, which the stream commits to with commitOffsets: true" $name) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- if and .Values.workloadIdentity.enabled (not .Values.workloadIdentity.clientId) -}}
{{- fail "workloadIdentity.enabled needs workloadIdentity.clientId, the client id of the managed identity" -}}
{{- end -}}
{{- end -}}
