"""Documentation of moorage_images; the work is done by the action plugin of the same name."""

from __future__ import annotations

DOCUMENTATION = r"""
module: moorage_images
short_description: Build what a host lacks of a stack's images and environments
description:
  - Names every image by a hash of all that goes into it, asks the host once which of them it
    holds, and ships sources for the others only. A host that has them all is asked one question.
  - The build runs in the background on the host with BuildKit and outlives the connection; its
    steps are shown as they come. The log of each image is C(/var/log/moorage/build-NAME.log).
  - Needs Docker and its buildx plugin on the host, and nothing besides the standard library of
    Python. For environments it needs Python alone, with pip where they have requirements, and asks
    no engine.
  - In check mode nothing is built; a host without Docker counts as one without images.
options:
  stack:
    description: The stack that the images belong to; part of their names and labels.
    type: str
    default: ""
  specs:
    description: The images to build besides those of O(images_map).
    type: list
    elements: dict
    default: []
    suboptions:
      key:
        description: What errors call it, such as the service's name.
        type: str
        required: true
      name:
        description: The image's name; by default the stack's and the target's.
        type: str
      build:
        description: >-
          As in the Compose Specification, with C(context), C(dockerfile), C(target), C(args) and
          C(additional_contexts). Of an environment it is C(environment) alone, with
          C(requirements), C(sources) and C(files).
        type: dict
        required: true
      stack_dir:
        description: Where relative paths start, on the controller.
        type: path
        required: true
  images_map:
    description: >-
      What stands for names in C(FROM) and C(image). A value that names a directory of
      O(images_dir) is built from it, any other is the reference of an image.
    type: dict
    default: {}
  images_dir:
    description: Where the directories of O(images_map) lie, on the controller.
    type: path
    default: files/images of this checkout
  base_source:
    description: >-
      Where the image that all others start from comes from. V(bootstrap) makes it from the host's
      own Debian archive, V(registry) pulls O(base_name), V(auto) tries to pull it for half a
      minute first.
    type: str
    choices: [bootstrap, registry, auto]
    default: bootstrap
  base_name:
    description: What a registry calls the base.
    type: str
    default: debian:trixie-slim
  refresh:
    description: >-
      Any text. Another one rebuilds the base and all that is built on it, with the packages that
      the archive has then.
    type: str
    default: ""
  pulls:
    description: >-
      Images of registries to have, each with C(ref), C(platform) and C(refresh): whether to ask
      the registry also where an image of that name is there. Each gets a name that says its digest.
    type: list
    elements: dict
    default: []
  credentials:
    description: >-
      A file on the controller, of mode 0600 or encrypted by ansible-vault, with users and passwords
      of registries. It never comes into an argument, the environment or a log.
    type: str
    default: ""
  mirrors:
    description: Lists of mirrors to ask before a registry, by its host; C(default) for none.
    type: dict
    default: {}
  pull_retries:
    description: How often a registry that does not answer is asked again.
    type: int
    default: 3
  pull_timeout_seconds:
    description: How long one attempt to pull may take.
    type: int
    default: 1800
  ca_bundle:
    description: >-
      A certificate bundle on the controller, given to builds as the secret C(ca), and to pip, and
      removed from the host afterwards.
    type: path
  pip_index_url:
    description: Given to builds as the argument C(PIP_INDEX_URL), and to pip.
    type: str
"""

EXAMPLES = r"""
- name: Ensure the shop's images are built
  moorage_images:
    stack: shop
    images_map:
      debian:trixie-slim: base
      redis:8: registry.example.com/redis:8
    specs:
      - key: web
        build: {context: ., target: web}
        stack_dir: "{{ moorage_files_dir }}/stacks/shop"
"""

RETURN = r"""
built:
  description: What was built, or in check mode would be.
  returned: always
  type: list
  elements: dict
  sample: [{ref: "moorage/shop-web:1f0c2d3e4a5b", seconds: 12.3, size: 123456789}]
pulled:
  description: >-
    Of each of O(pulls) its C(ref), what it is called here (C(image)), C(digest), C(id), and whether
    it is C(new) here.
  returned: always
  type: list
  elements: dict
present:
  description: What the host held already.
  returned: always
  type: list
  elements: str
refs:
  description: The reference of each key of O(specs).
  returned: always
  type: dict
images:
  description: O(images_map) with references in place of directories.
  returned: always
  type: dict
"""
