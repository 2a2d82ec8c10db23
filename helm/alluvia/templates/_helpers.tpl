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

{{/* What the pod of `helm test` is called in its labels. */}}
{{- define "alluvia.checkName" -}}
{{ include "alluvia.name" . | trunc 57 | trimSuffix "-" }}-check
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

{{/* The stream file of the values as JSON, to look into it: `config` is its text, or the mapping in it. */}}
{{- define "alluvia.config" -}}
{{- $config := .Values.config | default dict -}}
{{- if kindIs "string" $config -}}
{{- $config = fromYaml $config -}}
{{- if and (hasKey $config "Error") (not (hasKey $config "streams")) -}}
{{- fail (printf "config is not the text of a stream file: %s" $config.Error) -}}
{{- end -}}
{{- end -}}
{{- if not (or (kindIs "slice" $config.streams) (kindIs "invalid" $config.streams)) -}}
{{- fail "config.streams is not a list of streams" -}}
{{- end -}}
{{- toJson $config -}}
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
{{- $streams := max 1 (len ((include "alluvia.config" . | fromJson).streams | default list)) -}}
{{- $share := div (div (mul $limit (int .Values.memoryLimitPercent)) 100) $streams -}}
{{- if lt (int $share) 32 -}}
{{- fail (printf "resources.limits.memory %s leaves %d MiB for the buffers of each of %d streams (memoryLimitPercent %d); Alluvia needs at least 32 MiB: raise one of them" (toString .Values.resources.limits.memory) (int $share) (int $streams) (int .Values.memoryLimitPercent)) -}}
{{- end -}}
{{- $share -}}MiB
{{- end -}}

{{/*
The name that owns the leases of the release: one for every pod of it, so that a new pod takes over at once. Each job of a schedule
has its own (`job`): a pod that replaces another of its job takes over at once, and another job waits until this one has ended.
*/}}
{{- define "alluvia.owner" -}}
$(POD_NAMESPACE)/{{ include "alluvia.fullname" .root }}{{ if .job }}/$(JOB_NAME){{ end }}
{{- end -}}

{{/* The claim of the data volume: the StatefulSet makes its own, the CronJob has one of the chart. */}}
{{- define "alluvia.claim" -}}
{{- if .Values.schedule -}}
{{ include "alluvia.fullname" . }}-data
{{- else -}}
data-{{ include "alluvia.fullname" . }}-0
{{- end -}}
{{- end -}}

{{/* A source option of a stream as text, whatever its case; empty if it is not there. Takes `stream` and `name`. */}}
{{- define "alluvia.option" -}}
{{- range $name, $value := dig "source" "options" dict .stream -}}
{{- if eq (lower $name) (lower $.name) -}}{{ $value }}{{- end -}}
{{- end -}}
{{- end -}}

{{/* The trigger of a stream if it ends by that trigger: `once` or `availableNow`. */}}
{{- define "alluvia.endsBy" -}}
{{- $words := list (toString .trigger) -}}
{{- if kindIs "map" .trigger -}}{{- $words = keys .trigger -}}{{- end -}}
{{- range $words -}}
{{- if has (trim . | lower) (list "once" "availablenow") -}}{{ trim . }}{{- end -}}
{{- end -}}
{{- end -}}

{{/* Refuses values that contradict each other. */}}
{{- define "alluvia.check" -}}
{{- $config := include "alluvia.config" . | fromJson -}}
{{- if not $config.streams -}}
{{- fail "config.streams is empty: give at least one stream, as in a stream file (docs/reference/stream-file.md)" -}}
{{- end -}}
{{- range $index, $stream := $config.streams -}}
{{- if not (kindIs "map" $stream) -}}
{{- fail (printf "config.streams[%d] is not a mapping" $index) -}}
{{- end -}}
{{- if kindIs "invalid" $stream.name -}}
{{- fail (printf "config.streams[%d] has no name" $index) -}}
{{- end -}}
{{- end -}}
{{- include "alluvia.checkSecrets" (dict "value" $config "path" "config") -}}
{{- if kindIs "string" .Values.config -}}
{{- /* Comments are in the ConfigMap too. */ -}}
{{- range $index, $line := splitList "\n" .Values.config -}}
{{- $text := regexReplaceAll "^[\\s#]+" $line "" -}}
{{- include "alluvia.checkSecrets" (dict "value" $text "path" (printf "config, line %d," (add1 $index))) -}}
{{- end -}}
{{- end -}}
{{- $looked := dict "root" . "config" $config -}}
{{- include "alluvia.checkTriggers" $looked -}}
{{- include "alluvia.checkPlaces" $looked -}}
{{- if .Values.keda.enabled -}}
{{- include "alluvia.checkKeda" $looked -}}
{{- end -}}
{{- if .Values.workloadIdentity.enabled -}}
{{- if and .Values.serviceAccount.create (not .Values.workloadIdentity.clientId) -}}
{{- fail "workloadIdentity.enabled needs workloadIdentity.clientId, the client id of the managed identity" -}}
{{- end -}}
{{- if and (not .Values.serviceAccount.create) (or .Values.workloadIdentity.clientId .Values.workloadIdentity.tenantId) -}}
{{- fail "workloadIdentity.clientId and tenantId become annotations of the chart's service account, and serviceAccount.create is false: annotate your own with azure.workload.identity/client-id, and leave both empty" -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Whether the value of this key is a secret: not empty if so. A key that names a file or another place of a secret is none. The name of an account at the end of a key of Hadoop's says nothing. */}}
{{- define "alluvia.isSecret" -}}
{{- $setting := regexReplaceAll "\\.[a-z0-9]+\\.(dfs|blob)\\.core\\..*$" (lower .) "" -}}
{{- $name := regexReplaceAll "[^a-z0-9]" $setting "" -}}
{{- $secret := "password|passphrase|secret|connectionstring|accountkey|accesskey|masterkey|saskey|sasfixedtoken|token$|assertion$|keystorekey$|keypem$" -}}
{{- if and (regexMatch $secret $name) (not (regexMatch "(file|location|path|url|endpoint|id)$" $name)) -}}yes{{- end -}}
{{- end -}}

{{/* Whether a text has a secret written out in it, whatever its key: not empty if so. In the text every reference is written as ${}. */}}
{{- define "alluvia.holdsSecret" -}}
{{- $literal := "([^$&;\\s\"']|\\$([^{]|$))" -}}
{{- /* The key of a connection string, and the signature of a URL. */ -}}
{{- if regexMatch (printf "(?i)(^|[=;\"'])\\s*(sharedaccesskey|accountkey)\\s*=\\s*%s" $literal) . -}}yes{{- end -}}
{{- if regexMatch (printf "(?i)(^|[=?&;\"'])sig=%s" $literal) . -}}yes{{- end -}}
{{- range regexFindAll "[a-zA-Z][a-zA-Z0-9+.-]*://[^/?#@:\\s\"]*:[^/?#@\\s\"]+@" . -1 -}}
{{- if not (contains "${}" (regexReplaceAll "^[^:]*://[^:]*:" . "")) -}}yes{{- end -}}
{{- end -}}
{{- end -}}

{{/* Whether a JAAS line has a password or a secret written out in it: not empty if so. That of OAUTHBEARER may have no login. Takes the text as alluvia.holdsSecret does. */}}
{{- define "alluvia.holdsLogin" -}}
{{- range regexFindAll "(?i)(password|secret)\\s*=\\s*(\"[^\"]*\"|'[^']*'|[^;\\s]*)" . -1 -}}
{{- $value := regexReplaceAll "^[^=]*=\\s*" . "" | trimAll "\"'" -}}
{{- if and $value (not (contains "${}" $value)) -}}yes{{- end -}}
{{- end -}}
{{- end -}}

{{/* The configuration becomes a ConfigMap, which is no place for a secret. Takes a `value` of it, its `path`, and its `key` unless it is the whole or an item of a list. */}}
{{- define "alluvia.checkSecrets" -}}
{{- $path := .path -}}
{{- if kindIs "map" .value -}}
{{- range $key, $value := .value -}}
{{- include "alluvia.checkSecrets" (dict "value" $value "path" (printf "%s.%s" $path $key) "key" $key) -}}
{{- end -}}
{{- else if kindIs "slice" .value -}}
{{- range $index, $value := .value -}}
{{- include "alluvia.checkSecrets" (dict "value" $value "path" (printf "%s[%d]" $path $index)) -}}
{{- end -}}
{{- else -}}
{{- $key := .key | default "" -}}
{{- /* The default of a reference is written out. */ -}}
{{- $text := regexReplaceAll "\\$\\{env:[^}:]*:-([^}]+)\\}" (.value | default "" | toString | replace "$${" "") "${1}" -}}
{{- $text = regexReplaceAllLiteral "\\$\\{[^}]*\\}" $text "${}" -}}
{{- $literal := and .value (include "alluvia.isSecret" $key) (not (contains "${}" $text)) -}}
{{- $login := and (contains "jaas" (lower $key)) (include "alluvia.holdsLogin" $text) -}}
{{- if or $literal $login (include "alluvia.holdsSecret" $text) -}}
{{- fail (printf "%s is a secret, and its value would be in a ConfigMap: put it into a Secret, and refer to it as ${env:NAME} (envFromSecrets, or env with secretKeyRef) or as ${file:PATH} (secretMounts)" $path) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* The pod of a StatefulSet is started again when it ends, and the next run of a CronJob waits until the last one has ended. Takes `root` and `config`, as the next ones do. */}}
{{- define "alluvia.checkTriggers" -}}
{{- range .config.streams -}}
{{- $ends := include "alluvia.endsBy" . -}}
{{- if and $ends (not $.root.Values.schedule) -}}
{{- fail (printf "stream %s ends by its trigger %s, and Kubernetes would start its pod again and again: set schedule, which runs the streams as a CronJob, or set another trigger" .name $ends) -}}
{{- end -}}
{{- if and $.root.Values.schedule (not $ends) -}}
{{- fail (printf "schedule needs streams that end, and stream %s does not: set its trigger to availableNow, or remove schedule" .name) -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* Local tables and checkpoints that no volume holds are lost with the pod. A place that starts with a reference is not known here. */}}
{{- define "alluvia.checkPlaces" -}}
{{- $mounts := list -}}
{{- if .root.Values.persistence.enabled -}}{{- $mounts = append $mounts .root.Values.persistence.mountPath -}}{{- end -}}
{{- range .root.Values.extraVolumeMounts -}}{{- $mounts = append $mounts .mountPath -}}{{- end -}}
{{- range $stream := .config.streams -}}
{{- $places := dict "checkpointLocation" .checkpointLocation -}}
{{- range $key := list "sink" "deadLetter" -}}
{{- $target := get $stream $key | default dict -}}
{{- $place := $target.path -}}
{{- if $target.table -}}{{- $place = printf "%s/%s" ($.config.warehouse | default "") $target.table -}}{{- end -}}
{{- $_ := set $places $key $place -}}
{{- end -}}
{{- range $key, $place := $places -}}
{{- $path := regexReplaceAll "^file:(//)?" ($place | default "") "" -}}
{{- if not (or (eq $path "") (hasPrefix "${" $path) (regexMatch "^[a-zA-Z][a-zA-Z0-9+.-]+:/" $path)) -}}
{{- if not (isAbs $path) -}}{{- $path = printf "/data/%s" $path -}}{{- end -}}
{{- $path = clean $path -}}
{{- $held := $.root.Values.persistence.acceptDataLoss -}}
{{- range $mounts -}}
{{- if hasPrefix (printf "%s/" (trimSuffix "/" .)) (printf "%s/" $path) -}}{{- $held = true -}}{{- end -}}
{{- end -}}
{{- if not $held -}}
{{- fail (printf "%s of stream %s is at %s, which no volume holds: it would be lost with the pod. Use a URL of object storage, set persistence.enabled, or mount a volume there (extraVolumes, extraVolumeMounts). To try the chart out, set persistence.acceptDataLoss" $key $stream.name $path) -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}

{{/* KEDA asks for the lag of one group in one topic: it must be that of the whole release. A reference such as ${env:NAME} is not known here. */}}
{{- define "alluvia.checkKeda" -}}
{{- if .root.Values.schedule -}}
{{- fail "keda.enabled and schedule exclude each other: KEDA scales a StatefulSet, and schedule makes a CronJob" -}}
{{- end -}}
{{- range $name := list "bootstrapServers" "consumerGroup" "topic" -}}
{{- if not (index $.root.Values.keda $name) -}}
{{- fail (printf "keda.enabled needs keda.%s: KEDA asks for the lag of that group, which the stream commits to with commitOffsets: true" $name) -}}
{{- end -}}
{{- end -}}
{{- if ne (len .config.streams) 1 -}}
{{- fail "keda.enabled needs a release with one stream: the lag of its group decides, and records of other streams would not start the pod" -}}
{{- end -}}
{{- $stream := first .config.streams -}}
{{- $commits := include "alluvia.option" (dict "stream" $stream "name" "commitOffsets") -}}
{{- if not (or (eq (trim $commits | lower) "true") (contains "${" $commits)) -}}
{{- fail (printf "keda.enabled needs the source option commitOffsets: true of stream %s: without it the group has no offsets" $stream.name) -}}
{{- end -}}
{{- $topic := "" -}}
{{- range $name := list "eventhubs.name" "eventHub" "subscribe" "subscribePattern" "assign" -}}
{{- $topic = include "alluvia.option" (dict "stream" $stream "name" $name) | default $topic -}}
{{- end -}}
{{- if and $topic (not (contains "${" $topic)) (ne (trim $topic) .root.Values.keda.topic) -}}
{{- fail (printf "keda.topic is %s, and stream %s reads %s: KEDA needs a stream that subscribes to one topic, and keda.topic to be that topic" .root.Values.keda.topic $stream.name $topic) -}}
{{- end -}}
{{- $prefix := include "alluvia.option" (dict "stream" $stream "name" "groupIdPrefix") | default "spark-kafka-source" -}}
{{- $group := printf "%s-%s" $prefix $stream.name -}}
{{- range $name := list "eventhubs.consumerGroup" "consumerGroup" "kafka.group.id" -}}
{{- $group = include "alluvia.option" (dict "stream" $stream "name" $name) | default $group -}}
{{- end -}}
{{- if and (not (contains "${" $group)) (ne (trim $group) .root.Values.keda.consumerGroup) -}}
{{- fail (printf "keda.consumerGroup is %s, and stream %s commits its offsets to the group %s" .root.Values.keda.consumerGroup $stream.name $group) -}}
{{- end -}}
{{- end -}}
