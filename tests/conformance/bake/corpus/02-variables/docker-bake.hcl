variable "TAG" {
  default     = "dev"
  description = "what it is called"
}
variable "EMPTY" {}
variable "NOTHING" { default = null }
variable "COUNT" { default = 3 }
variable "DEBUG" { default = false }
variable "DERIVED" { default = "${TAG}-${COUNT}" }
REGISTRY = "registry.example"
FULL     = "${REGISTRY}/app:${TAG}"
target "default" {
  tags = [FULL, "${REGISTRY}/app:${DERIVED}"]
  args = {
    EMPTY    = EMPTY
    NOTHING  = NOTHING
    COUNT    = COUNT
    DEBUG    = DEBUG
    PLATFORM = BAKE_LOCAL_PLATFORM
    CONTEXT  = BAKE_CMD_CONTEXT
    IS_DEV   = TAG == "dev" ? "yes" : "no"
  }
}
