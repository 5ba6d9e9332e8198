// Where in the world a region is, so that the board is laid out as a map is read. Pure.

const PARTS = [
  ["Americas", /^(us|usa|ca|can|canada|sa|na|mx|br|cl|north-?america|south-?america|latin|americas?|brazil|mexico|chile|virginia|ohio|oregon|california|new-?york|toronto|montreal|sao-?paulo)/],
  ["Europe, Middle East and Africa", /^(eu|eur|europe|de|fr|uk|gb|ie|nl|se|no|fi|dk|pl|es|it|ch|at|pt|cz|west-?europe|north-?europe|me|il|ae|qa|za|af|africa|middle-?east|german|france|frankfurt|london|paris|ireland|dublin|amsterdam|stockholm|zurich|switzerland|sweden|norway|poland|hamburg|luebeck|berlin|munich|madrid|milan|warsaw|tel-?aviv|dubai)/],
  ["Asia and Pacific", /^(ap|apac|asia|au|aus|australia|jp|japan|kr|korea|in|india|sg|singapore|cn|china|hk|hong-?kong|tw|taiwan|id|indonesia|th|vn|nz|east-?asia|south-?east-?asia|tokyo|osaka|seoul|mumbai|sydney|melbourne|jakarta)/],
];
const ELSEWHERE = "Elsewhere";

export function partOfWorld(region) {
  const lower = region.toLowerCase();
  const found = PARTS.find(([, words]) => words.test(lower) && boundary(lower, words));
  return found ? found[0] : ELSEWHERE;
}

/** `us-east-1` and `use1` are of the Americas; `usual` is not. */
function boundary(region, words) {
  const rest = region.slice(words.exec(region)[0].length);
  return rest === "" || /^[^a-z]/.test(rest) || /^(east|west|north|south|central|[nsewc]+[0-9])/.test(rest);
}

/** Clusters as the map shows them: [[part of the world, [[region, [cluster, …]], …]], …], each in its order. */
export function mapOf(clusters) {
  const parts = new Map([...PARTS.map(([name]) => [name, new Map()]), [ELSEWHERE, new Map()]]);
  for (const cluster of clusters) {
    const regions = parts.get(cluster.region ? partOfWorld(cluster.region) : ELSEWHERE);
    if (!regions.has(cluster.region)) regions.set(cluster.region, []);
    regions.get(cluster.region).push(cluster);
  }
  return [...parts]
    .filter(([, regions]) => regions.size)
    .map(([part, regions]) => [
      part,
      [...regions].sort(([a], [b]) => compare(a, b)).map(([region, found]) => [region, found.sort((a, b) => compare(a.name, b.name))]),
    ]);
}

const collator = new Intl.Collator("en", { numeric: true });

export function compare(a, b) {
  return collator.compare(a, b);
}
