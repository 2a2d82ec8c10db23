{{/*
The specification of a pod: of the StatefulSet, of each run of the CronJob, and of the check. Takes `root`, `args` (a list), and
for a pod that no StatefulSet makes `claim`, the claim of its data volume; `check` is true for the check, which listens nowhere, and
`job` for a run of the CronJob.
*/}}
{{- define "alluvia.podSpec" -}}
{{- $root := .root -}}
{{- $values := .root.Values -}}
serviceAccountName: {{ include "alluvia.serviceAccountName" $root }}
automountServiceAccountToken: false
terminationGracePeriodSeconds: {{ add $values.shutdownTimeoutSeconds 10 }}
{{- if .claim }}
restartPolicy: Never
{{- end }}
securityContext:
  runAsNonRoot: true
  {{- with $values.runAsUser }}
  runAsUser: {{ int64 . }}
  runAsGroup: {{ int64 . }}
  fsGroup: {{ int64 . }}
  fsGroupChangePolicy: OnRootMismatch
  {{- end }}
  seccompProfile: { type: RuntimeDefault }
{{- with $values.image.pullSecrets }}
imagePullSecrets:
  {{- range . }}
  - name: {{ . }}
  {{- end }}
{{- end }}
{{- with $values.priorityClassName }}
priorityClassName: {{ . }}
{{- end }}
{{- with $values.nodeSelector }}
nodeSelector: {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $values.tolerations }}
tolerations: {{- toYaml . | nindent 2 }}
{{- end }}
{{- $affinity := $values.affinity -}}
{{- if and .check $values.persistence.enabled }}
{{- /* Most volumes are attached to one node: the check goes to that of the release's pod, or anywhere while there is none. */ -}}
{{- $beside := dict "topologyKey" "kubernetes.io/hostname" "labelSelector" (dict "matchLabels" (dict "app.kubernetes.io/instance" $root.Release.Name)) -}}
{{- $affinity = mergeOverwrite (deepCopy $affinity) (dict "podAffinity" (dict "requiredDuringSchedulingIgnoredDuringExecution" (list $beside))) -}}
{{- end }}
{{- with $affinity }}
affinity: {{- toYaml . | nindent 2 }}
{{- end }}
containers:
  - name: alluvia
    image: {{ include "alluvia.image" $root | quote }}
    imagePullPolicy: {{ $values.image.pullPolicy }}
    args: {{- toYaml .args | nindent 6 }}
    env:
      - name: POD_NAMESPACE
        valueFrom: { fieldRef: { fieldPath: metadata.namespace } }
      {{- if .job }}
      - name: JOB_NAME
        valueFrom: { fieldRef: { fieldPath: "metadata.labels['batch.kubernetes.io/job-name']" } }
      {{- end }}
      - name: ALLUVIA_OWNER
        value: {{ include "alluvia.owner" (dict "root" $root "job" .job) | quote }}
      - name: ALLUVIA_LOG
        value: {{ $values.logLevel | quote }}
      - name: ALLUVIA_LOG_FORMAT
        value: json
      - name: ALLUVIA_MEMORY_LIMIT
        value: {{ include "alluvia.memoryLimit" $root | quote }}
      - name: ALLUVIA_SHUTDOWN_TIMEOUT
        value: "{{ $values.shutdownTimeoutSeconds }} seconds"
      # For `alluvia status` and its like in this pod.
      - name: ALLUVIA_URL
        value: "http://127.0.0.1:{{ $values.service.port }}"
      # Indexes of keys and copies of states whose checkpoint is elsewhere: on the data volume, whoever the user is.
      - name: XDG_CACHE_HOME
        value: {{ printf "%s/.cache" (trimSuffix "/" $values.persistence.mountPath) | quote }}
      {{- with $values.env }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
    {{- with $values.envFromSecrets }}
    envFrom:
      {{- range . }}
      - secretRef: { name: {{ . }} }
      {{- end }}
    {{- end }}
    {{- if not .check }}
    ports:
      - name: observe
        containerPort: {{ $values.service.port }}
    {{- range $probe, $path := dict "startup" "/livez" "liveness" "/livez" "readiness" "/readyz" }}
    {{ $probe }}Probe:
      httpGet: { path: {{ $path }}, port: observe }
      {{- toYaml (get $values.probes $probe) | nindent 6 }}
    {{- end }}
    {{- end }}
    {{- $resources := $values.resources }}
    {{- if .check }}
    {{- /* It finds a place beside the release's pod. */ -}}
    {{- $resources = dict "limits" $values.resources.limits "requests" (dict "cpu" "10m" "memory" "32Mi") }}
    {{- end }}
    resources: {{- toYaml $resources | nindent 6 }}
    securityContext:
      allowPrivilegeEscalation: false
      readOnlyRootFilesystem: true
      capabilities: { drop: [ALL] }
    volumeMounts:
      - name: config
        mountPath: /etc/alluvia
        readOnly: true
      - name: data
        mountPath: {{ $values.persistence.mountPath }}
      - name: tmp
        mountPath: /tmp
      {{- range $values.secretMounts }}
      - name: secret-{{ .name }}
        mountPath: {{ .mountPath }}
        readOnly: true
      {{- end }}
      {{- with $values.extraVolumeMounts }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
volumes:
  - name: config
    configMap: { name: {{ include "alluvia.fullname" $root }} }
  - name: tmp
    emptyDir: {}
  {{- if not $values.persistence.enabled }}
  - name: data
    emptyDir: {}
  {{- else if .claim }}
  - name: data
    persistentVolumeClaim: { claimName: {{ .claim }} }
  {{- end }}
  {{- range $values.secretMounts }}
  - name: secret-{{ .name }}
    secret:
      secretName: {{ .name }}
      {{- if hasKey . "defaultMode" }}
      defaultMode: {{ int .defaultMode }}
      {{- else if $values.runAsUser }}
      {{- /* 0440: for fsGroup, which the chart sets with the user. Without it the files may have to be readable by all. */}}
      defaultMode: 288
      {{- end }}
  {{- end }}
  {{- with $values.extraVolumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end -}}

{{/* The template of a pod that runs the streams. Takes `root`, `claim` and `job` as above. */}}
{{- define "alluvia.podTemplate" -}}
{{- $values := .root.Values -}}
metadata:
  labels:
    {{- include "alluvia.labels" .root | nindent 4 }}
    {{- if $values.workloadIdentity.enabled }}
    azure.workload.identity/use: "true"
    {{- end }}
    {{- with $values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    checksum/config: {{ toYaml $values.config | sha256sum }}
    {{- with $values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  {{- $args := list "run" "/etc/alluvia/streams.yaml" (printf "--listen=:%v" $values.service.port) "--wait-for-lease" }}
  {{- include "alluvia.podSpec" (dict "root" .root "args" $args "claim" .claim "job" .job) | nindent 2 }}
{{- end -}}

{{/* The specification of a claim for the data volume. */}}
{{- define "alluvia.claimSpec" -}}
accessModes: {{- toYaml .Values.persistence.accessModes | nindent 2 }}
{{- with .Values.persistence.storageClass }}
storageClassName: {{ . }}
{{- end }}
resources:
  requests: { storage: {{ .Values.persistence.size }} }
{{- end -}}
