group "default" { targets = ["objects", "texts"] }
target "objects" {
  output = [
    { type = "local", dest = "out" },
    { type = "oci", dest = "out.tar", tar = false },
  ]
  cache-from = [
    { type = "registry", ref = "example/cache" },
    { type = "s3", region = "eu", bucket = "b" },
  ]
  cache-to = [{ type = "inline" }]
  attest = [
    { type = "provenance", mode = "max" },
    { type = "sbom", disabled = true },
  ]
  secret = [{ id = "home", env = "HOME" }, { id = "s", src = "docker-bake.hcl" }]
}
target "texts" {
  output     = ["type=image,name=example/x,push=true,\"annotation.a=b,c\""]
  cache-from = ["user/app:cache", "user/a,user/b", "type=local,src=path/to/cache"]
  cache-to   = ["type=local,dest=path/to/cache"]
  attest     = ["type=provenance,mode=min", "type=sbom", "type=provenance,disabled=true"]
  secret     = ["id=home,env=HOME", "type=file,id=s,src=docker-bake.hcl"]
}
