import asyncio, sys, time, logging, collections
from tests.chain.cells import *
from tests.chain.judge import try_cell
from tests.chain.infra import DEFINITION
from tests.chain.alarms import template_alarms
logging.disable(logging.CRITICAL)
async def main():
    cells=[c for call in Call for c in single_cells(call)]
    if len(sys.argv)>1: cells=[c for c in cells if any(a in str(c) for a in sys.argv[1:])]
    else: cells+=combined_cells()
    import os; part=os.environ.get("PART");
    if part: cells=cells[int(part)::2]
    t=time.time(); ends=collections.Counter(); red=[]; slow=[]
    lim=float(os.environ.get("LIM","1e9"))
    for c in cells:
        if time.time()-t>lim: print("CUT"); break
        t1=time.perf_counter()
        try: v=await try_cell(DEFINITION,c,template_alarms())
        except Exception as e:
            import traceback
            if len(sys.argv)>1: traceback.print_exc()
            red.append((c,"CRASH %r"%e)); continue
        slow.append((time.perf_counter()-t1,str(c)))
        ends[v.end]+=1
        if v.problems: red.append((c,v.end+": "+"; ".join(v.problems)))
    for c,p in red: print(c,c.accepts_early,"->",p)
    print(len(cells),len(red),ends,time.time()-t)
    for s in sorted(slow)[-10:]: print(s)
asyncio.run(main())
