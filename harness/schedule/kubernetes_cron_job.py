"""A CronJob of Kubernetes, and the claim of the volume that keeps its results.

Source: "CronJob" and "Jobs" in the Kubernetes documentation, batch/v1. A podFailurePolicy could only start a
pod anew that ended with the exit code of an inconclusive night, so a shell makes it 0. $(NAME) in a command
or an argument is replaced unless it stands as $$(NAME).
"""

from __future__ import annotations

import json

from harness.schedule.scheduled_night import QUIET, ScheduledNight
from harness.schema.errors import InputError


def manifest(night: ScheduledNight, image: str, gpus: int) -> dict[str, str]:
    """The text by file name. The night's scenario and results are paths in the container. Raises InputError
    where these or the image can't be."""
    if not image or not image.isprintable() or " " in image:
        raise InputError(f"--image {image!r} is no image: name one with harness and the scenario in it")
    if not night.results.startswith("/") or ":" in night.results:
        raise InputError(
            f"--results {night.results!r} is no place for a volume: give an absolute path in the container"
        )
    limits = f"\n                limits:\n                  nvidia.com/gpu: {gpus}" if gpus else " {}"
    text = f"""\
# kubectl apply -f {night.name}.yaml
apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  name: harness-results
spec:
  accessModes: [ReadWriteOnce]
  resources:
    requests:
      storage: 50Gi
---
apiVersion: batch/v1
kind: CronJob
metadata:
  name: {night.name}
spec:
  schedule: "{night.cron_time}"
  timeZone: Etc/UTC
  concurrencyPolicy: Forbid
  startingDeadlineSeconds: 3600
  successfulJobsHistoryLimit: 7
  failedJobsHistoryLimit: 7
  jobTemplate:
    spec:
      backoffLimit: 0  # a night that failed or found a regression isn't measured again
      template:
        spec:
          restartPolicy: Never
          automountServiceAccountToken: false
          containers:
            - name: harness
              image: {json.dumps(image)}
              # An inconclusive night (exit code {QUIET}) doesn't fail the job; its log says so.
              command:
                - /bin/sh
                - -c
                - 'harness nightly "$@"; code=$?; if [ "$code" -eq {QUIET} ]; then code=0; fi; exit "$code"'
                - harness
              args: [{value(night.scenario)}, "--results", {value(night.results)}]
              env:
                - name: HARNESS_CACHE
                  value: /cache
              envFrom:
                - secretRef:  # HARNESS_WEBHOOK_URL and HARNESS_WEBHOOK_SECRET, where it exists
                    name: harness-nightly
                    optional: true
              resources:{limits}
              securityContext:
                allowPrivilegeEscalation: false
                capabilities:
                  drop: [ALL]
              terminationMessagePolicy: FallbackToLogsOnError
              volumeMounts:
                - name: results
                  mountPath: {json.dumps(night.results, ensure_ascii=False)}
                  subPath: results
                - name: results
                  mountPath: /cache
                  subPath: cache
                - name: shm  # Triton and its Python backend exchange tensors there
                  mountPath: /dev/shm
          volumes:
            - name: results
              persistentVolumeClaim:
                claimName: harness-results
            - name: shm
              emptyDir:
                medium: Memory
"""
    return {f"{night.name}.yaml": text}


def value(text: str) -> str:
    """An argument: YAML's double-quoted text, in which JSON's is contained, without a variable."""
    return json.dumps(text.replace("$(", "$$("), ensure_ascii=False)
