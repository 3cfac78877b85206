# Copyright: waba.onprem contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How operators keep the Compose files of a client: habits of public Compose projects, each as its files and its start."""

from __future__ import annotations

import textwrap
import typing as t

from database_servers import CANARY
from operator_project import NEW, OLD, Layout

DATABASE = (
    f"WA_DB_ENGINE=MYSQL\nWA_DB_HOSTNAME=db.example.com\nWA_DB_PORT=3306\nWA_DB_USERNAME=wa\nWA_DB_PASSWORD={CANARY}\n"
)
FILE, ENV = "docker-compose.yml", ".env"
VERSION = f"WA_API_VERSION={OLD}\n"
TAG = "v${WA_API_VERSION}"
IN_ENV = {ENV: [VERSION.strip()]}
IN_IMAGES = {FILE: [f"@R/coreapp:v{OLD}", f"@R/web:v{OLD}"]}
P = ("-p", "@P")


def client(core: str = "", web: str = "", rest: str = "", tag: str = TAG, registry: str = "@R") -> str:
    """A Compose file with a client; `core` and `web` replace or add keys of its services, `rest` is what follows them."""
    text = "services:\n"
    for name, kind, more in (("wacore", "coreapp", core), ("waweb", "web", web)):
        own = {
            "image": f"{registry}/{kind}:{tag}",
            "env_file": "[db.env]",
            "environment": '{WA_CONFIG_ON_DB: "1"}',
            "volumes": '["media:/usr/local/wamedia"]',
            **({"depends_on": "[wacore]", "ports": '["@W:443"]'} if name == "waweb" else {}),
        }
        given = textwrap.dedent(more).strip("\n").splitlines()
        keys = {line.partition(":")[0] for line in given}
        lines = [*(f"{key}: {value}" for key, value in own.items() if key not in keys), *given]
        text += f"  {name}:\n" + textwrap.indent("\n".join(lines), "    ") + "\n"
    return text + rest + ("" if "\nvolumes:" in f"\n{rest}" else "volumes: {media: {}}\n")


BASE = client(tag=f"v{OLD}")
DATABASE_SERVICE = """\
  db:
    image: @R/db:v1
    environment: {MARIADB_DATABASE: wa}
    healthcheck: {test: ["CMD", "true"], interval: 1s}
"""


def layout(
    text: str,
    files: t.Mapping[str, str] | None = None,
    version: t.Mapping[str, t.Sequence[str]] | None = None,
    **more: t.Any,
) -> Layout:
    """A layout with this main file, a db.env, and a file `.env` that has the version, unless these are among `files`."""
    given = {FILE: text, "db.env": DATABASE, **({ENV: VERSION} if version is None else {}), **(files or {})}
    return Layout(given, version={} if "refused" in more else IN_ENV if version is None else version, **more)


# The message where the version is in a file that the named one refers to.
NOT_HERE = (
    f"version of the client in @D/{FILE}: @R/coreapp:v{OLD}, @R/web:v{OLD}: in none of @D/{FILE}; expected @R/coreapp:v{NEW}, "
    f"@R/web:v{NEW} in one file. Nothing was changed. Use one variable of .env, or tags alone in one Compose file, for all images of the client"
)

# What script/test integration starts.
USUAL: dict[str, Layout] = {
    "image tags in the file": layout(BASE, version=IN_IMAGES),
    "version in .env": layout(client(), {ENV: f"# Stand 3/26\nTZ=UTC\n{VERSION}\nLAST=1"}),
    "COMPOSE_FILE, COMPOSE_PROFILES and COMPOSE_PROJECT_NAME in .env": layout(
        client("profiles: [wa]\ndepends_on: [db]", "profiles: [wa, all]", DATABASE_SERVICE + "    profiles: [db]\n"),
        {
            ENV: f"COMPOSE_FILE={FILE}:conf/prod.yml\nCOMPOSE_PROFILES=wa,db\nCOMPOSE_PROJECT_NAME=@P\n{VERSION}",
            "conf/prod.yml": "services:\n  wacore: {mem_limit: 256m}\n",
        },
        folder="srv",
        compose_files=(FILE, "conf/prod.yml"),
        adopted={"profiles": ["db", "wa"]},
    ),
    "docker-compose.override.yml": layout(
        client(),
        {"docker-compose.override.yml": "services:\n  waweb:\n    environment: {TZ: Europe/Berlin}\n"},
        compose_files=(FILE, "docker-compose.override.yml"),
    ),
    "extends from another file": layout(
        """\
services:
  wacore:
    extends: {file: base/base.yml, service: core}
  waweb:
    extends: {file: base/base.yml, service: web}
    depends_on: [wacore]
volumes: {media: {}}
""",
        {
            "base/base.yml": BASE.replace("wacore:", "core:")
            .replace("waweb:", "web:")
            .replace("depends_on: [wacore]", ""),
            "base/db.env": DATABASE,
        },
        refused=NOT_HERE,
    ),
    "include": layout("include: [wa/compose.yml]\n", {"wa/compose.yml": BASE, "wa/db.env": DATABASE}, refused=NOT_HERE),
    "anchors, merge keys and extension fields": layout(
        f"""\
version: "3.8"
x-logging: &logging
  driver: json-file
  options: {{max-size: 50m, max-file: "5"}}
x-wa: &wa
  env_file: [db.env]
  restart: unless-stopped
  logging: *logging
  volumes: &volumes
    - media:/usr/local/wamedia
  x-owner: ops
x-env: &env
  WA_CONFIG_ON_DB: "1"
services:
  wacore:
    <<: *wa
    image: &core @R/coreapp:v{OLD}
    environment: {{<<: *env, TZ: UTC}}
  waweb:
    <<: [*wa, {{init: true}}]
    image: @R/web:v{OLD}
    environment:
      <<: *env
      WACORE_HOSTNAME: wacore
    depends_on: [wacore]
    ports: ["@W:443"]
  tools:
    image: *core
    profiles: [tools]
volumes: {{media: {{}}}}
""",
        version=IN_IMAGES,
    ),
    "defaults and required variables": layout(
        client(
            "environment: {WA_CONFIG_ON_DB: '${ON_DB:-1}', TZ: '${WA_TZ:?set it}', LEVEL: '${LEVEL-info}', NO: '${NO:-}'}",
            tag="v${WA_API_VERSION:?set WA_API_VERSION}",
        ),
        {ENV: f"WA_TZ=Europe/Berlin\n{VERSION}"},
    ),
    "--env-file, registry and version in two variables": layout(
        client(registry="${WA_REGISTRY}"),
        {"prod.env": f"WA_REGISTRY=@R\n{VERSION}", ENV: "WA_API_VERSION=2.50.0\n"},
        version={"prod.env": [VERSION.strip()]},
        options=("--env-file", "prod.env"),
        adopted={"env_files": ["@D/prod.env"]},
    ),
    "env_file and environment as lists, dollar signs in secrets": layout(
        client(
            """
            env_file:
              - path: db.env
              - path: local.env
                required: false
              - common.env
            environment:
              - WA_CONFIG_ON_DB=1
              - QUERY=a=b&c=d
              - EMPTY=
              - WA_TZ
            """,
            f'environment: {{WA_DB_PASSWORD: "{CANARY}$$x$$$$y", API_TOKEN: "$$$${{WA_API_VERSION}}"}}',
        ),
        {"common.env": "COMMON='two words' # comment\n", ENV: f"WA_TZ=UTC\n{VERSION}"},
    ),
    "default network with IPAM, static address and aliases": layout(
        client(
            "networks: {default: {ipv4_address: 10.213.7.10, aliases: [core, wacore.internal]}}",
            "networks: {default: {ipv4_address: 10.213.7.11}, back: {}}",
            """\
volumes: {media: {}}
networks:
  default:
    driver_opts: {com.docker.network.driver.mtu: 1450}
    ipam: {config: [{subnet: 10.213.7.0/24}]}
  back: {internal: true, labels: {tier: back}}
""",
        )
    ),
    "Coreapp on the network of the host, external network and volume": layout(
        client(
            "network_mode: host\nipc: host\npid: host",
            'extra_hosts: ["wacore:host-gateway"]\nnetworks: [default, proxy]',
            """\
volumes: {media: {external: true, name: "${MEDIA:-@P_media}"}}
networks: {proxy: {external: true, name: "@P_proxy"}}
""",
        ),
        before=(("network", "create", "@P_proxy"), ("volume", "create", "@P_media")),
    ),
    "limits, bound folders, secrets and configs": layout(
        client(
            """
            ulimits: {nofile: {soft: 512, hard: 1024}, nproc: 512, core: 0}
            cap_drop: [MKNOD, NET_RAW]
            cap_add: [SYS_NICE]
            sysctls: [net.core.somaxconn=1024]
            tmpfs: ["/tmp:size=16m", /scratch]
            security_opt: ["no-new-privileges:true"]
            mem_limit: 512m
            cpus: 0.5
            pids_limit: 200
            shm_size: 64m
            secrets: [pw, {source: tls, target: /etc/tls.pem, mode: 0400}]
            configs: [{source: conf, target: /etc/wa.conf}]
            volumes:
              - {type: volume, source: media, target: /usr/local/wamedia, volume: {nocopy: true}}
              - {type: bind, source: "${CERTS}", target: /certs, read_only: true}
              - {type: bind, source: "./${CERTS}/sub", target: /sub}
              - {type: tmpfs, target: /t, tmpfs: {size: 16m}}
              - ./conf:/conf:ro
              - ${CERTS}/sub:/short
            """,
            "deploy: {resources: {limits: {cpus: '0.5', memory: 256M}}, restart_policy: {condition: on-failure}}",
            """\
volumes: {media: {}}
secrets:
  pw: {file: ./pw.txt}
  tls: {file: "${CERTS}/tls.pem"}
configs:
  conf: {file: conf/wa.conf}
""",
        ),
        {
            ENV: f"CERTS=./certs\n{VERSION}",
            "pw.txt": CANARY,
            "certs/sub/x": "",
            "certs/tls.pem": CANARY,
            "conf/wa.conf": "a",
        },
    ),
    "labels, container_name, links and logging": layout(
        client(
            """
            container_name: "@P_core"
            links: ["db:mysql"]
            """,
            """
            container_name: "@P_web"
            hostname: web
            links: ["wacore:core", db]
            logging: {driver: json-file, options: {max-size: 10m, max-file: "3", tag: "{{.Name}}"}}
            restart: on-failure:5
            labels:
              - "traefik.enable=true"
              - "traefik.http.routers.wa.rule=Host(`wa.example.com`) && PathPrefix(`/v1`)"
              - "traefik.http.middlewares.auth.basicauth.users=ops:$$apr1$$x$$y"
              - traefik.http.services.wa.loadbalancer.server.port=443
            """,
            DATABASE_SERVICE,
        )
    ),
    "database, cache and a preparation in the project": layout(
        client(
            """
            depends_on:
              db: {condition: service_healthy}
              cache: {condition: service_started}
              prepare: {condition: service_completed_successfully}
            """,
            "depends_on: {wacore: {condition: service_started, restart: true}}",
            DATABASE_SERVICE
            + """\
  cache: {image: "@R/db:v1"}
  prepare: {image: "@R/db:v1", command: ["true"]}
  proxy: {image: "@R/db:v1", depends_on: [waweb]}
""",
        )
    ),
    "second project in a folder with a blank": layout(
        client(),
        {"other.yml": "services: {waweb: {image: '@R/db:v1'}, wacore: {image: '@R/db:v1'}}\n", "other.env": "A=1\n"},
        folder="Meine Dateien/wa prod",
        options=P,
        others=(("-p", "@P2", "--env-file", "other.env", "-f", "other.yml"),),
    ),
    "quotes, comments and Windows line ends": layout(
        client(
            f'image:   "@R/coreapp:v{OLD}"   # was @R/coreapp:v2.50.0',
            f"# image: @R/web:v{OLD}\nimage: '@R/web:v{OLD}'",
        ).replace("\n", "\r\n"),
        version=IN_IMAGES,
    ),
}

# What script/test deep starts, too.
RARE: dict[str, Layout] = {
    "several -f": layout(
        client(web="labels: {stage: base}"),
        {"prod.yml": "services:\n  waweb:\n    labels: {stage: prod}\n    restart: always\n"},
        options=("-f", FILE, "-f", "prod.yml"),
        compose_files=(FILE, "prod.yml"),
    ),
    "profile by option": layout(
        client("profiles: [wa]", "profiles: [wa, all]"), options=("--profile", "wa"), adopted={"profiles": ["wa"]}
    ),
    "several --env-file": layout(
        client(),
        {"common.env": "WA_API_VERSION=2.50.0\n", "prod.env": VERSION},
        version={"prod.env": [VERSION.strip()]},
        options=("--env-file", "common.env", "--env-file", "prod.env"),
        adopted={"env_files": ["@D/common.env", "@D/prod.env"]},
    ),
    "COMPOSE_ENV_FILES in the shell": layout(
        client(),
        {"prod.env": VERSION},
        version={"prod.env": [VERSION.strip()]},
        shell={"COMPOSE_ENV_FILES": "prod.env"},
        adopted={"env_files": ["@D/prod.env"]},
    ),
    "COMPOSE_FILE and COMPOSE_PROFILES in the shell": layout(
        client("profiles: [wa]", "profiles: [wa]"),
        {"b.yml": "services: {waweb: {restart: always}}\n"},
        shell={"COMPOSE_FILE": f"{FILE}:b.yml", "COMPOSE_PROFILES": "wa"},
        compose_files=(FILE, "b.yml"),
        adopted={"profiles": ["wa"]},
    ),
    "files of another folder": Layout(
        {
            "conf/base.yml": client("env_file: ../db.env", "env_file: [../db.env]"),
            "conf/prod/prod.yml": "services: {waweb: {volumes: ['./conf:/conf:ro']}}\n",
            f"conf/{ENV}": VERSION,
            "db.env": DATABASE,
        },
        options=(*P, "-f", "conf/base.yml", "-f", "conf/prod/prod.yml"),
        project_dir="conf",
        compose_files=("conf/base.yml", "conf/prod/prod.yml"),
        version={f"conf/{ENV}": [VERSION.strip()]},
    ),
    "--project-directory": Layout(
        {"conf/base.yml": client("env_file: ./db.env"), ENV: VERSION, "db.env": DATABASE},
        options=(*P, "--project-directory", ".", "-f", "conf/base.yml"),
        compose_files=("conf/base.yml",),
        version=IN_ENV,
    ),
    "links in the folder": Layout(
        {"shared/wa.yml": client(), "shared/db.env": DATABASE, "shared/.env": VERSION},
        links={FILE: "shared/wa.yml", "db.env": "shared/db.env", ENV: "shared/.env"},
        version=IN_ENV,
    ),
    "link to the folder": layout(client(), folder="releases/5", link="current", options=P),
    "top-level name and container names from a variable": layout(
        "name: ${STACK:?}\n" + client("container_name: ${STACK}-core", "container_name: ${STACK}-web"),
        {ENV: f"STACK=@P\n{VERSION}"},
        folder="srv",
    ),
    "named volume over a folder": layout(
        client(
            rest="""\
volumes:
  media:
    driver: local
    driver_opts: {type: none, o: bind, device: "${MEDIA_DIR}"}
"""
        ),
        {ENV: f"MEDIA_DIR=@D/media\n{VERSION}", "media/x": ""},
    ),
    "flow style": layout(
        f"""\
services: {{wacore: {{image: '@R/coreapp:v{OLD}', env_file: db.env, volumes: ["media:/usr/local/wamedia"]}}, waweb: {{
  image: @R/web:v{OLD}, env_file: db.env, depends_on: [wacore], ports: ["@W:443"], volumes: ["media:/usr/local/wamedia"]}}}}
volumes: {{media: }}
""",
        version=IN_IMAGES,
    ),
    "comments, blanks and Windows line ends in .env": layout(
        client(), {ENV: f"# Version\r\n\r\n  A = ' x ' # y\r\n{VERSION.strip()}\r\nB=\"$A\"\r\n# WA_API_VERSION=2.50.0"}
    ),
    "db.env with variables, quotes and a value of several lines": layout(
        client(),
        {
            ENV: f"SITE=eu\n{VERSION}",
            "db.env": DATABASE + "URL=https://${SITE}.example.com\nLITERAL='${SITE} $x'\nexport TEXT=\"a\n b\"\n",
        },
    ),
    "variables with a default in the default": layout(
        client('environment: {WA_CONFIG_ON_DB: "1", TZ: "${WA_TZ:-${WA_ZONE:-UTC}}"}'), {ENV: f"WA_ZONE=CET\n{VERSION}"}
    ),
    "other names of the services": layout(
        client()
        .replace("wacore:", "business-api_core.1:")
        .replace("waweb:", "WebApp:")
        .replace("[wacore]", "[business-api_core.1]")
    ),
    "images in two files": layout(
        client(tag="v2.50.0"),
        {"version.yml": f"services: {{wacore: {{image: '@R/coreapp:v{OLD}'}}, waweb: {{image: '@R/web:v{OLD}'}}}}\n"},
        version={"version.yml": [f"@R/coreapp:v{OLD}", f"@R/web:v{OLD}"]},
        options=("-f", FILE, "-f", "version.yml"),
        compose_files=(FILE, "version.yml"),
    ),
    "images of Docker Hub": layout(
        client(registry="@H", tag=f"v{OLD}"), version={FILE: [f"@H/coreapp:v{OLD}", f"@H/web:v{OLD}"]}
    ),
    "images of Docker Hub by its full name": layout(
        client(registry="docker.io/@H", tag=f"v{OLD}"),
        version={FILE: [f"docker.io/@H/coreapp:v{OLD}", f"docker.io/@H/web:v{OLD}"]},
    ),
    "ports in every form": layout(
        client(
            'expose: [6250, "6251-6253"]',
            """
            ports:
              - "127.0.0.1:29443:443"
              - "127.0.0.1:29100-29103:6250-6253"
              - {target: 444, published: "29444", host_ip: 127.0.0.1, protocol: tcp, mode: host}
              - "127.0.0.1::445/udp"
              - "${STATS_PORT:-127.0.0.1:29446}:446"
            """,
        )
    ),
    "names, users and devices": layout(
        client(
            """
            hostname: core
            domainname: example.com
            user: "0:0"
            group_add: [audio]
            working_dir: /tmp
            dns: [192.0.2.53]
            dns_search: [example.com]
            dns_opt: [use-vc]
            extra_hosts: ["b.example.com:192.0.2.2", "a.example.com:192.0.2.1"]
            devices: ["/dev/null:/dev/xnull:rwm"]
            device_cgroup_rules: ["c 1:3 mr"]
            init: true
            tty: true
            stdin_open: true
            stop_signal: SIGINT
            stop_grace_period: 1m30s
            annotations: {price: "5$$"}
            oom_score_adj: 5
            cpuset: "0"
            cgroup: host
            privileged: true
            platform: linux/amd64
            pull_policy: never
            """
        )
    ),
    "commands and inline configs with dollar signs": layout(
        client(
            "entrypoint: [/bin/sh, -c]\ncommand: ['exec sleep \"$${TIME:-1000}\"']\nconfigs: [{source: motd, target: /motd}]",
            "command: sleep 1000\nhealthcheck: {test: 'test -n \"$$HOME\"', interval: 30s, start_period: 1m}",
            "volumes: {media: {}}\nconfigs:\n  motd:\n    content: |\n      price 5$$, version ${WA_API_VERSION}\n",
        )
    ),
    "a service that is built, and one of the image of the Coreapp": layout(
        client(
            tag=f"v{OLD}",
            rest=f"""\
  exporter:
    image: @R/db:v1
    build: {{context: ., dockerfile_inline: "FROM @R/db:v1"}}
  tools:
    image: @R/coreapp:v{OLD}
    profiles: [tools]
    depends_on: [wacore]
""",
        ),
        version=IN_IMAGES,
    ),
    "two nodes, a master and a scaled service": layout(
        client(
            "environment: &node {WA_CONFIG_ON_DB: '1', WA_APP_MULTICONNECT: '1'}\ndeploy: {replicas: 2}",
            "environment: *node",
            """\
  master:
    image: @R/coreapp:v${WA_API_VERSION}
    env_file: db.env
    environment: {<<: *node, WA_MASTER_NODE: "1"}
    volumes: ["media:/usr/local/wamedia"]
  worker:
    image: @R/db:v1
    scale: 2
""",
        )
    ),
}

UNSET = "which no env file sets: only the shell of whoever started it had the value"

# What adoption leaves alone, each with what the report says.
LEFT_ALONE: dict[str, Layout] = {
    "version in the shell": layout(
        client(),
        version={},
        shell={"WA_API_VERSION": OLD},
        left=f"its Compose files use WA_API_VERSION, {UNSET}",
    ),
    "a variable that is passed through, and one that every shell has": layout(
        client("environment: [WA_CONFIG_ON_DB=1, TZ, NEVER_SET]", "labels: {by: '${HOME:?}'}"),
        shell={"TZ": "Asia/Kolkata"},
        left=f"its Compose files use TZ, HOME, {UNSET}",
    ),
    "the name of a volume in the shell": layout(
        client(rest="volumes: {media: {name: '${VOLUME:?}'}}\n"),
        shell={"VOLUME": "@P_whatsapp"},
        left=f"its Compose files use VOLUME, {UNSET}",
    ),
    "COMPOSE_FILE in the folder above": layout(
        "services: {}\n",
        {
            ENV: f"COMPOSE_FILE=conf/{FILE}\nCOMPOSE_PROJECT_NAME=@P\n{VERSION}",
            f"conf/{FILE}": client(),
            "conf/db.env": DATABASE,
        },
        left=f"its Compose files use WA_API_VERSION, {UNSET}",
    ),
    "version as a default": layout(
        client(tag=f"${{WA_TAG:-v{OLD}}}"),
        version={},
        left="its version is not in one place: ",
    ),
    "a variable for each image": layout(
        client("image: ${CORE_IMAGE}", "image: @R/web:$WEB_TAG"),
        {ENV: f"CORE_IMAGE=@R/coreapp:v{OLD}\nWEB_TAG=v{OLD}\n"},
        version={},
        left="its version is not in one place: ",
    ),
    "a Compose file that has gone": layout(
        client(),
        {"docker-compose.override.yml": "services: {tools: {image: '@R/db:v1'}}\n"},
        gone=("docker-compose.override.yml",),
        left="it was started from @D/docker-compose.override.yml, which is not on h1 any more",
    ),
    "JSON": Layout(
        {
            "compose.json": '{"services": {"wacore": {"image": "@R/coreapp:v2.51.2", "env_file": "db.env"}}}',
            "db.env": DATABASE,
        },
        options=("-f", "compose.json"),
        left="@D/compose.json is JSON, in which no version can be set",
    ),
}
