A listener may have error pages of its own, by status (`errorPages`).
