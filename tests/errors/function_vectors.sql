CREATE FEATURE SERVICE a AS SELECT dot_product(r.a, r.a) AS x, cosine_distance(r.a, r.a) AS y, hash_buckt(r.a, 8) AS z, inner_product(r.a, r.a) AS w FROM REQUEST (a DOUBLE[]) r;
