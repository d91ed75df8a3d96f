target "app" {
  dockerfile = target.base.dockerfile
  tags       = [for t in target.base.tags : "${t}-app"]
  args       = merge(target.base.args, { APP = target.web.args["PORT"] })
  cache-to   = target.base.cache-to
  output     = target.base.output
  secret     = target.base.secret
}
target "base" {
  dockerfile = "base.Dockerfile"
  tags       = ["example/base:1"]
  args       = { A = "1" }
  cache-to   = ["type=registry,ref=example/cache,mode=max"]
  output     = [{ type = "image", compression = "zstd" }]
  secret     = [{ id = "token", env = "HOME" }]
}
target "web" {
  args = { PORT = "80", BASE = target.base.args.A }
  description = "${target.app.dockerfile} and ${group.default.targets[0]}"
}
group "default" { targets = ["app", "web"] }
